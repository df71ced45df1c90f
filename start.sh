#!/bin/bash
# Starts the container: finds the model caches, sets the library paths, then becomes the program MODE_TO_RUN names.
#   queue  takes jobs from Runpod's queue (default)
#   lb     answers HTTP on $PORT (80), for a load-balancing endpoint
#   pod    answers HTTP on $PORT (8000) and says how to try it
#   gateway  is an OpenAI API on $PORT (8020) in front of the queue endpoint GATEWAY_ENDPOINT; needs no GPU
# In Kubernetes pod is the default: there is no queue of Runpod's. KubeAI sets WHISPER__MODEL and no more.
# Arguments that begin with a dash are the server's: start.sh --model ID. With others it becomes those instead:
# start.sh python handler.py --test_input ...
set -euo pipefail
cd "$(dirname "$0")"

# Models are written to the network volume where there is one, and found there, in the platform's own model cache
# (one cached model per endpoint) and in the image; the last two may be read-only.
volume=${WORKER_VOLUME:-/runpod-volume}
if [ -z "${HF_HOME:-}" ]; then
  HF_HOME=$HOME/.cache/huggingface
  if [ -d "$volume" ]; then
    if mkdir -p "$volume/huggingface" 2>/dev/null && [ -w "$volume/huggingface" ]; then
      HF_HOME=$volume/huggingface
    else
      echo "start: user $(id -u) cannot write to $volume: new models go to the container's disk, $HF_HOME" >&2
    fi
  fi
fi
export HF_HOME
export MODEL_READ_CACHES="${MODEL_READ_CACHES:-$volume/huggingface-cache/hub,/opt/models/hub}"

# Hopper and newer cards compile CTranslate2's kernels at every start, unless what they made is kept: on the volume, with
# the most room that the driver allows, because it holds those for each kind of card.
if [ -e /dev/nvidiactl ] || [ "${RUNPOD_GPU_COUNT:-0}" != 0 ]; then
  if [ -d "$volume" ] && mkdir -p "$volume/cuda-cache" 2>/dev/null && [ -w "$volume/cuda-cache" ]; then
    export CUDA_CACHE_PATH="${CUDA_CACHE_PATH:-$volume/cuda-cache}" CUDA_CACHE_MAXSIZE="${CUDA_CACHE_MAXSIZE:-4294967296}"
  fi
fi

# The GPU image has its CUDA libraries from wheels; the loader finds them only when it is told.
for folder in /opt/venv/lib/python3*/site-packages/nvidia/*/lib; do
  [ -d "$folder" ] && export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done

mode=queue
[ -n "${KUBERNETES_SERVICE_HOST:-}" ] && [ -z "${RUNPOD_POD_ID:-}" ] && mode=pod
case "${1:-}" in
  "") ;;
  -*) mode=pod ;;
  *) exec "$@" ;;
esac
mode=${MODE_TO_RUN:-$mode}

# The speech server is alone in the container here: it never sees what belongs to the platform or to the worker.
hide_keys() {
  local name
  for name in $(compgen -e); do
    case ",${SPEECH_SERVER_PASS_ENV:-}," in *",$name,"*) continue ;; esac
    case $name in RUNPOD_*KEY* | RUNPOD_WEBHOOK_* | BUCKET_*) unset "$name" ;; esac
  done
}

# Runpod's words for this machine in the server's, as worker/machine.py says them to the one beside it.
tell_of_machine() {
  [[ "${RUNPOD_GPU_COUNT:-}" =~ ^0*[1-9][0-9]*$ ]] && export REQUIRE_GPU="${REQUIRE_GPU:-true}"
  [[ "${RUNPOD_CPU_COUNT:-}" =~ ^0*[1-9][0-9]*$ ]] && export CPU_COUNT="${CPU_COUNT:-$RUNPOD_CPU_COUNT}"
  return 0
}

serve() {
  local port=$1 lowest
  shift
  hide_keys
  tell_of_machine
  lowest=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null || echo 1024)
  if [ "$(id -u)" != 0 ] && [ "$port" -lt "$lowest" ]; then
    echo "start: user $(id -u) may not listen on port $port here: set PORT to $lowest or more and expose that port" >&2
    exit 64
  fi
  exec python -m speech_server --host 0.0.0.0 --port "$port" "$@"
}

case "$mode $#" in
  "lb "* | "pod "* | *" 0") ;;
  *)
    echo "start: MODE_TO_RUN=$mode starts no server that options like $1 are for: lb and pod do" >&2
    exit 64
    ;;
esac

case "$mode" in
  queue) exec python handler.py ;;
  lb)
    # Runpod asks everyone for its own key, and calls the server by names of its own: no page gets here by itself.
    [ -n "${RUNPOD_ENDPOINT_ID:-}" ] && export ALLOWED_HOSTS="${ALLOWED_HOSTS:-*}"
    # The load balancer passes HTTP and WebSockets, and no UDP: a call over WebRTC would never come about.
    export REALTIME_CALLS="${REALTIME_CALLS:-false}"
    # Runpod lets nobody through who has not shown its key: callers are no strangers here.
    export MODEL_MANAGEMENT="${MODEL_MANAGEMENT:-on}"
    serve "${PORT:-80}" "$@"
    ;;
  pod)
    port=${PORT:-8000}
    base=http://localhost:$port
    if [ -n "${RUNPOD_POD_ID:-}" ]; then
      base=https://$RUNPOD_POD_ID-$port.proxy.runpod.net
      export ALLOW_ORIGINS="${ALLOW_ORIGINS:-$base}" # its own page, whatever the proxy calls the server
    fi
    cat <<TEXT
start: pod mode. Try it at $base/ (page), $base/docs (every route), or from a terminal:
  curl $base/v1/models
  curl $base/v1/audio/speech -H 'Content-Type: application/json' -d '{"model":"tts-1","voice":"alloy","input":"Hello."}' -o hello.mp3
  curl $base/v1/audio/transcriptions -F model=whisper-1 -F file=@hello.mp3
TEXT
    [ -z "${API_KEY:-}" ] && echo "start: everyone who knows the address can use it: set API_KEY to change that"
    serve "$port" "$@"
    ;;
  gateway)
    if [ -z "${GATEWAY_ENDPOINT:-}" ]; then
      echo "start: gateway mode needs GATEWAY_ENDPOINT, the id or URL of a queue endpoint" >&2
      exit 64
    fi
    exec python -m endpoint gateway "$GATEWAY_ENDPOINT" --host 0.0.0.0 --port "${PORT:-8020}"
    ;;
  *)
    echo "start: MODE_TO_RUN is queue, lb, pod or gateway, not '$mode'" >&2
    exit 64
    ;;
esac
