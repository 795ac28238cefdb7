# The worker as an image. It starts its jobs' containers through the host's engine:
#
#   docker run -d --env-file .env -v /srv/jobfetcher:/data -v /var/run/docker.sock:/var/run/docker.sock jobfetcher
#
# It runs as root unless told otherwise, because only root can use every host's socket and every folder of an earlier
# worker. Whoever may use the socket is root on that host anyway. To run it as the image's own account all the same,
# give that account the folder, and the socket's group:
#
#   chown -R 1000:1000 /srv/jobfetcher
#   docker run --user 1000:1000 --group-add "$(stat -c %g /var/run/docker.sock)" ... jobfetcher
#
# BASE may also name a digest: --build-arg BASE=python@sha256:...
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
LABEL org.decode.jobfetcher=build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/jobfetcher
WORKDIR /src

COPY requirements-run.lock ./
RUN pip --python /opt/jobfetcher/bin/python install --quiet --require-hashes -r requirements-run.lock

# boto3 carries the description of every service of AWS; logging in needs one of them.
RUN cd /opt/jobfetcher/lib/python3*/site-packages/botocore/data && \
    find . -mindepth 1 -maxdepth 1 -type d ! -name cognito-idp -exec rm -r {} +

COPY pyproject.toml README.md LICENSE ./
COPY jobfetcher jobfetcher
COPY states states
COPY persistence persistence
COPY mock_api mock_api
RUN pip --python /opt/jobfetcher/bin/python install --quiet --no-deps .

# What was cut out above must not be missed: a login's client can still be made.
RUN /opt/jobfetcher/bin/python -c "import boto3; boto3.client('cognito-idp', region_name='eu-central-1')"

FROM ${BASE}
# A new volume takes its owner from the folder that it is mounted on.
RUN groupadd --gid 1000 jobfetcher && \
    useradd --uid 1000 --gid 1000 --home-dir /data --no-create-home --shell /usr/sbin/nologin jobfetcher && \
    install -d -o jobfetcher -g jobfetcher /data
COPY --from=build /opt/jobfetcher /opt/jobfetcher
ENV PATH=/opt/jobfetcher/bin:$PATH \
    PATH_BASE=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# Healthy: the worker's threads turn, and its disk is not full. Asked at STATUS_PORT if that is set, else read
# from its lock and status file.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD jobfetcher health
ENTRYPOINT ["jobfetcher"]
CMD ["run"]

ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="JobFetcher" \
      org.opencontainers.image.description="Worker of DECODE OpenCloud: fetches analysis jobs and runs their containers" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
