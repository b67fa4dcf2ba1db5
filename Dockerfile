# Two stages: what is needed to install stays behind, what runs is a virtual environment and Python.
# PYTHON_IMAGE may name any image with a python3 of 3.11 or later.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements/run.lock requirements/build.lock requirements/
RUN python3 -m venv --without-pip /opt/venv \
 && python3 -m venv /opt/installer \
 && /opt/installer/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements/build.lock \
 && /opt/installer/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --require-hashes -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
RUN /opt/installer/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/installer/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps /dist/*.whl

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/venv /opt/venv
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/headlamp-auth-proxy"]
CMD ["serve"]
