# Stands in for Trivy's image: the program alone.
FROM scratch
COPY trivy /usr/local/bin/trivy
