FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && python -m venv /opt/driftstream \
 && /opt/driftstream/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY stream stream
COPY detectors detectors
COPY sinks sinks
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/driftstream/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home driftstream
COPY --from=build /opt/driftstream /opt/driftstream
ENV PATH=/opt/driftstream/bin:$PATH PYTHONUNBUFFERED=1
USER driftstream
WORKDIR /home/driftstream
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=2).close()"]
ENTRYPOINT ["driftstream"]
CMD ["worker"]
