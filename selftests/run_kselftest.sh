#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs the installed tests of stablefs, as root; -h shows the options.
exec "$(dirname "$(readlink -f "$0")")/run_kselftest" "$@"
