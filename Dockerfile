# One node. With HEADRACE_REDIS it uses that Redis or Valkey; without, it runs an embedded Valkey with its data in /data.
#
#   docker build -t headrace .
#   docker run -p 8080:8080 -v headrace:/data headrace
FROM python:3.11-slim AS build

WORKDIR /src
RUN python -m venv /opt/headrace
COPY pyproject.toml README.md LICENSE ./
COPY clients/python clients/python
COPY broker broker
COPY cluster cluster
COPY gateway gateway
COPY bench bench
RUN /opt/headrace/bin/pip install --no-cache-dir --disable-pip-version-check ./clients/python .

FROM python:3.11-slim

RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin headrace \
    && install -d -o headrace -g headrace /data
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEADRACE_HOST=0.0.0.0 \
    HEADRACE_PORT=8080 \
    HEADRACE_DATA=/data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# Liveness only: a node whose Redis is away must not be restarted for it (see /readyz).
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"HEADRACE_PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["headrace"]
CMD ["serve"]
