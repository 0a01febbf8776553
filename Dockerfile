# claude-relay in a container. Without a command both daemons run in it, kept up by one supervisor (serve --with-worker);
# docker-compose.yml runs them apart. The jobs are in /var/lib/claude-relay: mount a volume there (-v jobs:/var/lib/claude-relay),
# or they are gone with the container. There is no VOLUME here: Railway refuses it, and an anonymous one is lost just so.
#
#   docker build -t claude-relay .                     BASE may be any Debian with Python 3.10 or newer and venv:
#   docker build --build-arg BASE=debian-with-python .
#   docker build --build-arg OTEL=yes .                with the libraries for traces
ARG BASE=python:3.11-slim

# Three stages, so that a new version of the program is a small layer on that of the libraries. Their exact versions, with
# hashes, are in constraints/. pip is not needed any more afterwards, and no compiler ever is: all come as wheels.
FROM ${BASE} AS libraries
ARG OTEL=no
COPY constraints constraints
RUN python3 -m venv /opt/claude-relay \
    && /opt/claude-relay/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes \
        -r constraints/base.txt -r constraints/postgres.txt $([ "$OTEL" = no ] || echo -r constraints/otel.txt) \
    && /opt/claude-relay/bin/pip uninstall --quiet --yes wheel setuptools pip

FROM ${BASE} AS program
WORKDIR /src
COPY constraints constraints
COPY setup.cfg setup.py README.md LICENSE ./
COPY claude_relay claude_relay
RUN python3 -m venv /opt/claude-relay \
    && /opt/claude-relay/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes \
        -r constraints/build.txt \
    && /opt/claude-relay/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-build-isolation --no-deps . \
    && mkdir /out \
    && tar -C / -cf - $(cd / && ls -d opt/claude-relay/bin/claude-relay opt/claude-relay/lib/python3*/site-packages/claude_relay*) \
        | tar -C /out -xf -

FROM ${BASE}
# tini hands signals on and buries what ends: a shell or Python as process 1 does neither by itself.
RUN apt-get -qq update \
    && apt-get -qq install -y --no-install-recommends tini ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 claude-relay \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/claude-relay --no-create-home --shell /usr/sbin/nologin claude-relay \
    && install -d -o 10001 -g 0 -m 2770 /var/lib/claude-relay
COPY --from=libraries /opt/claude-relay /opt/claude-relay
COPY --from=program /out/ /
ENV PATH=/opt/claude-relay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RELAY_HOST=0.0.0.0 \
    RELAY_ENV=production
USER 10001:10001
WORKDIR /var/lib/claude-relay
EXPOSE 3000
ARG VERSION=unknown
LABEL org.opencontainers.image.title="claude-relay" \
    org.opencontainers.image.description="Takes a prompt for Claude, keeps it on disk, makes the call, and brings the answer to a webhook." \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}"
# The planned stop: no new calls, and those that run are finished within RELAY_DRAIN (120s). Docker's own patience is 10 s:
# docker run --stop-timeout 150, or stop_grace_period in compose.
# A worker by itself has no port to ask.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; b'worker' in open('/proc/1/cmdline', 'rb').read().split(b'\\0') or u.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT') or 3000}/health\", timeout=4)"]
ENTRYPOINT ["tini", "--", "claude-relay"]
CMD ["serve", "--with-worker"]
