FROM python:3.13-bookworm AS build
WORKDIR /src
COPY requirements ./requirements
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && python -m venv /opt/ingestd \
 && /opt/ingestd/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY ingestd ./ingestd
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /opt/wheels . \
 && /opt/ingestd/bin/pip install --no-cache-dir --no-deps --no-index /opt/wheels/*.whl

FROM python:3.13-slim-bookworm
COPY --from=build /opt/ingestd /opt/ingestd
RUN useradd --system --uid 10001 --no-create-home ingestd && install -d -o ingestd /data
USER 10001
VOLUME /data
EXPOSE 2003/tcp 2003/udp 2004/tcp 25826/udp 8080/tcp
HEALTHCHECK --interval=10s --timeout=3s CMD ["/opt/ingestd/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT ["/opt/ingestd/bin/ingestd", "serve", "--data", "/data"]
CMD ["--graphite", "0.0.0.0:2003", "--pickle", "0.0.0.0:2004", "--collectd", "0.0.0.0:25826", "--http", "0.0.0.0:8080"]
