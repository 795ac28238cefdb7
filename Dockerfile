# The worker as an image. It starts its jobs' containers through the host's engine, so the base folder must have the same
# path inside and outside:
#   docker run -v /srv/jobs:/srv/jobs -e PATH_BASE=/srv/jobs -v /var/run/docker.sock:/var/run/docker.sock jobfetcher

FROM python:3.11-slim AS build
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

FROM python:3.11-slim
COPY --from=build /opt/jobfetcher /opt/jobfetcher
ENV PATH=/opt/jobfetcher/bin:$PATH \
    PATH_BASE=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# Healthy: a worker holds the lock of its base folder. Reading the kernel's list, unlike trying the lock, disturbs nobody.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD grep -q "FLOCK.*:$(stat -c %i "$PATH_BASE/jobfetcher.lock") " /proc/locks
ENTRYPOINT ["jobfetcher"]
CMD ["run"]
