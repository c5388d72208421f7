# Tollway in a container: for use with a PostgreSQL and a Redis of your own (see deploy/).
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
RUN python -m venv /opt/tollway && python -m venv /opt/compile
COPY requirements/run.txt requirements/compile.txt requirements/
RUN /opt/tollway/bin/pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: -r requirements/run.txt \
 && /opt/compile/bin/pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: -r requirements/compile.txt
COPY pyproject.toml README.md ./
COPY gateway gateway
COPY migrations migrations
RUN /opt/tollway/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
 && /opt/tollway/bin/pip uninstall --yes --quiet pip
# The path of a call to machine code, beside its sources.
COPY deploy/compile.py deploy/
RUN /opt/compile/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
        --target compiled . \
 && /opt/compile/bin/python deploy/compile.py compiled \
 && cp --recursive compiled/gateway compiled/*.so /opt/tollway/lib/python3.11/site-packages/

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/tollway --create-home tollway
COPY --from=build /opt/tollway /opt/tollway
COPY policies /etc/tollway/policies
ENV PATH=/opt/tollway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TOLLWAY_DATA_DIR=/var/lib/tollway \
    TOLLWAY_POLICIES=/etc/tollway/policies \
    TOLLWAY_LISTEN=:8080 \
    TOLLWAY_PORTAL=:8091
USER tollway
VOLUME /var/lib/tollway
EXPOSE 8080 8090 8091
# Drains; let it take longer than TOLLWAY_DRAIN_DELAY_S + TOLLWAY_DRAIN_TIMEOUT_S: `docker stop --time 60`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request; tls = os.environ.get('TOLLWAY_CONTROL_TLS_CERT'); urllib.request.urlopen(f'http{\"s\" * bool(tls)}://127.0.0.1:8090/readyz', timeout=2, context=ssl._create_unverified_context() if tls else None)"]
CMD ["tollway", "run"]
