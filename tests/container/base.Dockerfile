# Stands in for the Python image: Debian's own Python, and the certificates that this machine trusts.
FROM scratch
ADD root.tar /
COPY certificates.pem /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
