# The mock of the API as an image, for trying the worker out: docker build -f deploy/mock.Dockerfile -t jobfetcher-mock .
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
LABEL org.decode.jobfetcher=mock-build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/mock
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# The extra's packages in the locked versions.
RUN sed -E 's/ *--hash=[^ ]+//; s/ *\\$//' requirements.lock > versions.txt && \
    python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['mock'], sep='\n')" \
        > extra.txt && \
    pip --python /opt/mock/bin/python install --quiet -c versions.txt -r extra.txt

FROM ${BASE}
COPY --from=build /opt/mock /opt/mock
COPY states /app/states
COPY mock_api /app/mock_api
WORKDIR /app
ENV PATH=/opt/mock/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin mock && install -d -o mock /mock
USER mock
EXPOSE 8400
HEALTHCHECK --interval=2s --timeout=5s --retries=15 \
    CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8400/access_info').close()"
ENTRYPOINT ["python", "-m", "mock_api", "--host", "0.0.0.0", "--port", "8400", "--data", "/mock"]
