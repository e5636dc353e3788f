# Thalweg and nothing else: a slim Python, the locked dependencies, a user without rights.
#   docker build --tag thalweg .
#   docker run --rm thalweg --help
# Python 3.11 because the suite runs on it and the lock resolves newer ones to other versions of numpy.
FROM python:3.11-slim AS build
WORKDIR /source
COPY deploy/docker/requirements.lock ./
RUN python -m venv /opt/thalweg \
 && /opt/thalweg/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY thalweg ./thalweg
COPY schemas ./schemas
COPY ingest ./ingest
COPY versions ./versions
COPY audit ./audit
COPY lineage ./lineage
COPY compactors ./compactors
COPY produce ./produce
RUN /opt/thalweg/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home thalweg && install --directory --owner thalweg /var/lib/thalweg
COPY --from=build /opt/thalweg /opt/thalweg
ENV PATH=/opt/thalweg/bin:$PATH PYTHONUNBUFFERED=1 THALWEG_HOME=/var/lib/thalweg
USER thalweg
WORKDIR /var/lib/thalweg
# The decoder's kernel, compiled for this machine: ten seconds here instead of at each worker's first start.
RUN python -c "from ingest.decode.decoder import warm; warm(print)"
ENTRYPOINT ["thalweg"]
CMD ["--help"]
