# mmposter in a container: the page and the REST interface of `mmposter serve`, or any other command.
#
#   docker build -t mmposter .                              for a CPU
#   docker build -t mmposter:cuda --build-arg DEVICE=cuda . for NVIDIA GPUs
#   docker run --rm -p 127.0.0.1:7860:7860 mmposter
#
# See docs/docker.md.

ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /source
COPY setup.cfg pyproject.toml MANIFEST.in README.md LICENSE CHANGELOG.md ./
COPY configs configs
COPY detectors detectors
COPY fusion fusion
COPY mmposter mmposter
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .


FROM python:${PYTHON}-slim-bookworm

# The CPU build of torch has its own index, and is a tenth of the size; on the usual index it comes with CUDA's libraries.
ARG DEVICE=cpu
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

# What OpenCV needs of the system (ultralytics brings the build with a window).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

RUN if [ "$DEVICE" = cpu ]; then \
        python -m pip install --no-cache-dir --index-url "$TORCH_CPU_INDEX" torch torchvision; \
    elif [ "$DEVICE" != cuda ]; then \
        echo "DEVICE is cpu or cuda; got $DEVICE" >&2; exit 1; \
    fi
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    wheel="$(echo /wheels/mmposter-*.whl)" \
    && python -m pip install --no-cache-dir "${wheel}[serve,offline]"

# Nobody in here needs to be root. Everything that is downloaded, and nothing else, is kept in /cache.
RUN useradd --create-home --home-dir /data --uid 1000 mmposter \
    && mkdir /cache && chown mmposter:mmposter /cache
USER mmposter
WORKDIR /data
ENV XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/cache/matplotlib \
    YOLO_CONFIG_DIR=/cache/ultralytics \
    EASYOCR_MODULE_PATH=/cache/easyocr \
    PYTHONUNBUFFERED=1
VOLUME ["/cache"]

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/health', timeout=4)"]

ENTRYPOINT ["mmposter"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860", "--offline"]
