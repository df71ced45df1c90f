"""Proves that every shared library in the environment resolves, and opens those the engines open by name.

Run it in the image: `python image/check_libraries.py`. Only what a GPU's driver brings may be missing.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import sysconfig
from pathlib import Path

# Brought into the container by the GPU's driver.
DRIVER = {"libcuda.so.1", "libnvidia-ml.so.1"}
# Opened at run time by ctranslate2, cuDNN and ONNX Runtime; needed by no library's header, so ldd does not see them.
BY_NAME = (
    "libcudart.so.12",
    "libcublasLt.so.12",
    "libcublas.so.12",
    "libcurand.so.10",
    "libnvJitLink.so.12",
    "libcufft.so.11",
    "libnvrtc.so.12",
    "libcudnn.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_graph.so.9",
)


def unresolved(library: Path) -> set[str]:
    """The libraries `library` asks for that the loader does not find."""
    done = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=False)
    return {line.split()[0] for line in done.stdout.splitlines() if "=> not found" in line}


def main() -> int:
    site = Path(sysconfig.get_path("purelib"))
    libraries = sorted(path for path in site.rglob("*.so*") if path.is_file() and not path.is_symlink())
    missing = {library: names for library in libraries if (names := unresolved(library) - DRIVER)}
    for library, names in missing.items():
        print(f"{library.relative_to(site)}: not found: {', '.join(sorted(names))}")
    gpu = (site / "nvidia").is_dir()
    for name in BY_NAME if gpu else ():
        ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)  # OSError, with the loader's reason, ends the check
    if (site / "onnxruntime").is_dir():
        check_onnxruntime(site / "onnxruntime" / "capi", gpu=gpu)
    print(f"{len(libraries)} libraries, {len(missing)} with something missing, {'GPU' if gpu else 'CPU'} image")
    return 1 if missing else 0


def check_onnxruntime(folder: Path, *, gpu: bool) -> None:
    import ctranslate2
    import onnxruntime

    print(f"onnxruntime {onnxruntime.__version__} {onnxruntime.get_available_providers()}")
    print(f"ctranslate2 {ctranslate2.__version__} {sorted(ctranslate2.get_supported_compute_types('cpu'))}")
    if gpu:
        assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"), mode=ctypes.RTLD_GLOBAL)


if __name__ == "__main__":
    sys.exit(main())
