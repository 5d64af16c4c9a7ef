# SPDX-License-Identifier: GPL-2.0
# stablefs: everything that people do with it. `make help` lists the targets.
#
# Two ways to build the module. Without KDIR everything happens in the toolchain root that qemu/ makes, against the
# stock Debian kernel of qemu/kernel.conf. With KDIR, against that kernel build tree, with the machine's own tools.

MAKEFLAGS += --no-print-directory

KDIR ?=
DEBUG ?=
CONTROL ?=
T ?=
FSTYP ?= stablefs
SEED ?=
LONGER ?=

# Anything else would be taken for yes, and the debug kernel takes a while to build.
ifneq ($(filter-out 0 1,$(DEBUG)),)
$(error DEBUG is "$(DEBUG)"; it is 1, 0 or empty)
endif

prepare = qemu/prepare $(if $(filter-out 0,$(DEBUG)),--debug) $(if $(CONTROL),--control '$(CONTROL)')
vm = qemu/vm $(1) $(if $(filter-out 0,$(DEBUG)),--debug) $(if $(CONTROL),--control '$(CONTROL)')

.DEFAULT_GOAL := help

## What people want:

run: host-packages ## Build everything, boot, load stablefs, show it; then a shell, if this is a terminal
	@$(prepare) all >/dev/null
	@if [ -t 0 ] && [ -t 1 ]; then $(call vm,shell) -- /opt/stablefs/demo; else $(call vm,run) -- /opt/stablefs/demo; fi

test: host-packages ## Host tests, then the kselftests in the VM [T=pattern FSTYP=stablefs|ext4|xfs|btrfs DEBUG=1 CONTROL=NAME SEED=n LONGER=n]
	@qemu/test $(if $(filter-out 0,$(DEBUG)),--debug) $(if $(CONTROL),--control '$(CONTROL)') \
		--fstyp '$(FSTYP)' $(if $(T),--select '$(T)') $(if $(SEED),--seed '$(SEED)') $(if $(LONGER),--longer '$(LONGER)')

controls: host-packages ## One step of a protocol wrong, each in turn: the step's test must fail [T=control or test DEBUG=1]
	@qemu/test --controls $(if $(filter-out 0,$(DEBUG)),--debug) $(if $(T),--select '$(T)')

bench: host-packages ## What stable pages cost: one boot of the stock kernel, stablefs beside ext4 and XFS, some minutes
	@qemu/prepare all >/dev/null
	@qemu/vm run -- /opt/stablefs/selftests/bench

check: host-packages ## Format, lints, licence lines, `unsafe` only where it belongs
	@qemu/check

## Parts of it:

ifeq ($(KDIR),)
modules: host-packages ## Build stablefs.ko into build/module-stock [KDIR=tree: against that tree, here; DEBUG=1 CONTROL=NAME]
	@$(prepare) module

modules_install:
	@echo "modules_install needs KDIR=, such as make modules_install KDIR=/lib/modules/\$$(uname -r)/build"; exit 2
else
modules_install: ## Install the module that was built with KDIR=, as root
modules modules_install: kdir-can-rust
	$(MAKE) -C '$(KDIR)' M=$(CURDIR) MO=$(CURDIR)/build/module-kdir STABLEFS_CONTROLS=$(if $(CONTROL),1) $@

.PHONY: kdir-can-rust
kdir-can-rust:
	@qemu/kdir-can-rust '$(KDIR)'
	@mkdir -p build/module-kdir
endif

selftests: host-packages ## Build the kselftests into build/selftests, a folder that runs on any machine
	@qemu/prepare selftests

shell: terminal host-packages ## Boot and give a shell, without the demonstration [DEBUG=1]
	@$(prepare) all >/dev/null
	@$(call vm,shell)

.PHONY: terminal
terminal:
	@[ -t 0 ] && [ -t 1 ] || { echo "make shell needs a terminal; qemu/vm run does not" >&2; exit 2; }

debug-kernel: host-packages ## Build the debug kernel now (DEBUG=1 does it when it is needed)
	@qemu/prepare debug-kernel

host-packages: ## Install the host packages that are missing, saying why
	@qemu/host-packages

clean: ## Remove build/
	rm -rf build

clean-cache: ## Remove the toolchain root, the kernels and the guest image, of all clones
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/stablefs"

help: ## This list
	@awk 'BEGIN { FS = ": .*## |: ## " } \
		/^## / { sub(/^## /, ""); printf "\n%s\n", $$0 } \
		/^[a-z_-]+:.* ## / { split($$1, target, ":"); if (!seen[target[1]]++) printf "  make %-16s %s\n", target[1], $$2 }' \
		$(firstword $(MAKEFILE_LIST))

.PHONY: run test controls bench check modules modules_install selftests shell debug-kernel host-packages clean clean-cache help
