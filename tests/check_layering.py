#!/usr/bin/env python3
"""Checks who includes whom, and the size of files: check_layering.py ROOT, or --self-test.

The arrows: engine <- layers <- graphs <- tools, examples; tests may include all of them. Third-party headers stay in
the files that CONTAINED names, so that no public header needs a build flag or somebody else's package.
"""

import os
import pathlib
import re
import sys
import tempfile

MAX_LINES = 400
ALLOWED = {
    "engine": {"engine"},
    "layers": {"engine", "layers"},
    "graphs": {"engine", "layers", "graphs"},
    "tools": {"engine", "layers", "graphs", "tools"},
    "examples": {"engine", "layers", "graphs", "examples"},
    "tests": {"engine", "layers", "graphs", "tools", "examples", "tests"},
}
CUDA_FILES = r".*\.cuh?|engine/cuda_\w+\.(h|cc)|(tools|tests)/(.*/)?\w*cud(a|nn)\w*\.(h|cc)"
# An include that matches the first pattern may stand only in files that match the second.
CONTAINED = [
    (r"yaml-cpp/", r"graphs/(io/)?(yaml|read)\w*\.(cc|h)"),
    (r"Eigen/", r".*_cpu\.(cc|h)"),
    (r"(cuda|cublas|cuComplex|device_|sm_\d+_|vector_types|cub/|thrust/|cute/|cutlass/|mma\.h)", CUDA_FILES),
    (r"cudnn", r"tools/(.*/)?\w*cudnn\w*\.(h|cc|cu)"),
    (r"nlohmann/", r"(graphs|tools|tests)/.*"),
    (r"zip\.h", r"graphs/io/npz_libzip\.cc"),
    (r"sndfile\.(h|hh)", r"graphs/io/wav_sndfile\.cc"),
    (r"(CLI|fmt)/", r"tools/.*"),
    (r"doctest/", r"tests/.*"),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
BUILD_FLAG = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\bSTRAND_")


def source_files(root):
    for folder in ALLOWED:
        for path, names, files in os.walk(root / folder):
            names[:] = sorted(n for n in names if not n.startswith((".", "build", "__pycache__")))
            for name in sorted(files):
                if name.endswith((".cc", ".h", ".cu", ".cuh", ".py")):
                    yield pathlib.Path(path, name)


def check_include(root, name, quoted, target):
    folder = name.split("/")[0]
    if quoted:
        owner = target.split("/")[0]
        if owner not in ALLOWED:
            yield f'"{target}" is not spelled from the root of the repository'
        elif not (root / target).is_file():
            yield f'"{target}" does not exist'
        elif owner not in ALLOWED[folder]:
            yield f"{folder} must not include {owner} ({target})"
        elif folder == "layers" and name.count("/") > 1 and target.count("/") > 1:
            family = name.rsplit("/", 1)[0]
            if not target.startswith(family + "/"):
                yield f"{family} must not include another layer's insides ({target})"
    elif target.startswith("strand/") and folder not in ("examples", "tests"):
        yield f"<{target}> is for programs outside the tree"
    for pattern, files in CONTAINED:
        if re.match(pattern, target) and not target.startswith(tuple(f + "/" for f in ALLOWED)):
            if not re.fullmatch(files, name):
                yield f"<{target}> may be included only in {files}"


def violations(root):
    for path in source_files(root):
        name = path.relative_to(root).as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > MAX_LINES:
            yield f"{name}:{MAX_LINES + 1}: {len(lines)} lines; {MAX_LINES} are the limit"
        if name.endswith(".py"):
            continue
        public = name.endswith(".h") and name.split("/")[0] in ("engine", "layers", "graphs")
        for number, line in enumerate(lines, 1):
            if public and BUILD_FLAG.match(line):
                yield f"{name}:{number}: a public header must not need a build flag"
            include = INCLUDE.match(line)
            if include:
                for reason in check_include(root, name, include[1] == '"', include[2]):
                    yield f"{name}:{number}: {reason}"


# Each plants one violation in an otherwise clean tree: (file, text).
PLANTED = [
    ("engine/a.cc", '#include "layers/layer.h"\n'),
    ("engine/a.cc", '#include "graphs/network.h"\n'),
    ("layers/pool/a.cc", '#include "graphs/network.h"\n'),
    ("layers/pool/a.cc", '#include "layers/conv1d/conv1d.h"\n'),
    ("graphs/a.cc", '#include "tools/table.h"\n'),
    ("examples/keypad/a.cc", '#include "tools/table.h"\n'),
    ("engine/a.cc", '#include "session.h"\n'),
    ("engine/a.cc", '#include "engine/no_such_file.h"\n'),
    ("engine/a.cc", "#include <strand/strand.h>\n"),
    ("graphs/network.cc", "#include <yaml-cpp/yaml.h>\n"),
    ("layers/conv1d/conv1d.cc", "  #  include <Eigen/Core>\n"),
    ("layers/conv1d/conv1d.cc", "#include <cuda_runtime.h>\n"),
    ("layers/conv1d/conv1d_cpu.cc", "#include <cublas_v2.h>\n"),
    ("engine/b.h", "#pragma once\n#ifdef STRAND_HAVE_CUDA\n#endif\n"),
    ("graphs/b.h", "#pragma once\n#if defined(STRAND_X)\n#endif\n"),
    ("engine/long.cc", "\n" * (MAX_LINES + 1)),
    ("tests/long.py", "\n" * (MAX_LINES + 1)),
]
CLEAN = {
    "engine/session.h": '#pragma once\n#include <vector>\n',
    "engine/cuda_runtime.cc": "#include <cuda_runtime.h>\n",
    "layers/layer.h": '#pragma once\n#include "engine/session.h"\n',
    "layers/conv1d/conv1d.h": '#pragma once\n#include "layers/layer.h"\n',
    "layers/conv1d/conv1d_cpu.cc": '#include <Eigen/Core>\n#include "layers/conv1d/conv1d.h"\n',
    "layers/conv1d/conv1d_direct.cu": '#include <cuda_fp16.h>\n#include "layers/conv1d/conv1d.h"\n',
    "graphs/network.h": '#pragma once\n#include "layers/layer.h"\n',
    "graphs/yaml.cc": "#include <yaml-cpp/yaml.h>\n",
    "tools/table.h": '#pragma once\n#include "graphs/network.h"\n',
    "examples/link/main.cc": "#include <strand/strand.h>\n",
    "tests/all_test.cc": '#include <doctest/doctest.h>\n#include "tools/table.h"\n',
    "tests/short.py": "\n" * MAX_LINES,
}


def self_test():
    def write(root, name, text):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    failures = 0
    for planted in [None, *PLANTED]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in CLEAN.items():
                write(root, name, text)
            if planted:
                write(root, *planted)
            found = list(violations(root))
            if bool(found) != bool(planted) or len(found) > 1 or (planted and not found[0].startswith(planted[0] + ":")):
                failures += 1
                print(f"planted {planted}: found {found}")
    print(f"self-test: {len(PLANTED) + 1 - failures} of {len(PLANTED) + 1} as expected")
    return 1 if failures else 0


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--self-test":
        sys.exit(self_test())
    root = pathlib.Path(sys.argv[1])
    if not (root / "engine").is_dir():
        sys.exit(f"{root} is no strand tree")
    found = list(violations(root))
    for violation in found:
        print(violation)
    print(f"{len(found)} violations in {len(list(source_files(root)))} files")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
