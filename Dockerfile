# Three stages: what is needed to compile and to install stays behind; what runs is Python, a virtual
# environment and its bytecode, as a user that the image need not know, on a read-only root.
#
# PYTHON_IMAGE is any image with python3 3.11 or later, its venv module and a shell; BUILD_IMAGE one
# with the same Python and C library, Python's headers and a C compiler. The tags are for builds at
# hand: a release resolves them to digests first and passes those (release.yml).
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim
ARG BUILD_IMAGE=docker.io/library/python:3.13

FROM ${BUILD_IMAGE} AS compile
WORKDIR /src
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
COPY requirements/compile.lock requirements/
RUN python3 -m venv /opt/installer \
 && /opt/installer/bin/pip install --require-hashes -r requirements/compile.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proxy proxy
RUN HEADLAMP_AUTH_PROXY_COMPILE=1 /opt/installer/bin/python -m hatchling build -t wheel -d /dist

FROM ${PYTHON_IMAGE} AS build
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
COPY requirements/run.lock /src/
RUN python3 -m venv --without-pip /opt/venv \
 && python3 -m venv /opt/installer \
 && /opt/installer/bin/pip --python /opt/venv/bin/python install --no-compile --require-hashes \
    -r /src/run.lock
COPY --from=compile /dist /dist
RUN /opt/installer/bin/pip --python /opt/venv/bin/python install --no-compile --no-deps /dist/*.whl
# Each of these, and what is ours, falls back to Python, or to nothing, without a word where its C
# part is missing.
RUN /opt/venv/bin/python -c 'import uvloop.loop, httptools.parser.parser, aiohttp._http_parser, \
    aiohttp._http_writer, aiohttp._websocket.mask, multidict._multidict, propcache._helpers_c, \
    yarl._quoting_c' \
 && /opt/venv/bin/python -c 'import sys, proxy.server; from proxy.version import is_compiled; \
    sys.exit(not is_compiled())'
# A read-only root never gets bytecode of its own. The usual kind holds the time of its build.
ENV PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONHASHSEED=0
RUN stdlib="$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode checked-hash \
    -x '^/usr/.*/(ensurepip|idlelib|lib2to3|site-packages|test|tkinter|turtledemo)/' \
    "$stdlib" /opt/venv/lib

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
# What could install anything more; the paths of python.org's image and of Debian's.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
    /usr/local/lib/python3*/ensurepip /usr/lib/python3*/ensurepip /usr/share/python-wheels
COPY --from=build /opt/bytecode /opt/bytecode
COPY --from=build /opt/venv /opt/venv
ENV PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/headlamp-auth-proxy"]
CMD ["serve"]
# Known to a release only; the times are the commit's, so that the same commit is the same image.
ARG SOURCE
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="headlamp-auth-proxy" \
      org.opencontainers.image.description="Lets tsidp's users into Headlamp on clusters whose API server cannot be told to trust an OIDC issuer." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.url="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}#readme" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
