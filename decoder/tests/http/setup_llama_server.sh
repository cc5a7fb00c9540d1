#!/usr/bin/env bash
# Makes a Python environment with a llama.cpp server in the folder $1, for the test of a real server:
#     decoder/tests/http/setup_llama_server.sh /tmp/llama
#     ROUTEWRIGHT_LLAMA_PYTHON=/tmp/llama/bin/python cargo test --workspace a_real_server
# llama.cpp is built from source: python3, cmake and a C++ compiler, about five minutes of processor time.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER"; exit 2; }
python3 -m venv "$1"
CMAKE_ARGS="${CMAKE_ARGS:--DGGML_NATIVE=OFF -DGGML_AVX2=ON}" \
    "$1/bin/pip" install --no-binary llama-cpp-python 'llama-cpp-python[server]'
echo "ROUTEWRIGHT_LLAMA_PYTHON=$1/bin/python"
