// docker buildx bake: both variants; docker buildx bake cpu: one. REGISTRY=me/runpod-speech VERSION=1.0.0 names them.
variable "REGISTRY" { default = "runpod-speech" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "" }
// Models to bake in, separated by spaces; none by default.
variable "MODELS" { default = "" }

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
