// docker buildx bake: both variants; docker buildx bake cpu: one. REGISTRY=me/runpod-speech VERSION=1.0.0 names them.
variable "REGISTRY" { default = "runpod-speech" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "" }
// Models to bake in, separated by spaces; the Dockerfile's default, or "" for none.
variable "MODELS" { default = "speaches-ai/Kokoro-82M-v1.0-ONNX" }

group "default" { targets = ["gpu", "cpu"] }

target "image" {
  platforms = ["linux/amd64"]
  args      = { VERSION = VERSION, REVISION = REVISION, MODELS = MODELS }
}

target "gpu" {
  inherits = ["image"]
  args     = { DEVICE = "gpu" }
  tags     = ["${REGISTRY}:${VERSION}", "${REGISTRY}:latest"]
}

target "cpu" {
  inherits = ["image"]
  args     = { DEVICE = "cpu" }
  tags     = ["${REGISTRY}:${VERSION}-cpu", "${REGISTRY}:cpu"]
}
