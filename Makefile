# SPDX-License-Identifier: GPL-2.0-only
# Builds everything into .output/. `make help` names the targets; V=1 shows the commands.
#
#   WERROR=1  warnings are errors (on when CI is set)    SAN=1  AddressSanitizer and UBSan, into .output/san/
#   COV=1     coverage counters, into .output/cov/       DEBUG=1   BPF programs talk on the trace pipe; into .output/debug/
#   PREFIX, SYSCONFDIR, DESTDIR as usual

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.DEFAULT_GOAL := all

DEBUG ?= 0
OUT := .output$(if $(filter 1,$(DEBUG)),/debug)
V ?= 0
CI ?=
WERROR ?= $(if $(CI),1,0)
SAN ?= 0
COV ?= 0

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n'
endif

# ---- tools ---------------------------------------------------------------------------------------------------------
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
CLANG ?= clang
BPFTOOL ?= bpftool
LLVM_STRIP ?= llvm-strip
PKG_CONFIG ?= pkg-config
PYTHON ?= /usr/bin/python3
# As the kernel names architectures (bpf_tracing.h).
ARCH ?= $(shell uname -m | sed -e 's/x86_64/x86/' -e 's/aarch64/arm64/' -e 's/ppc64le/powerpc/' -e 's/riscv64/riscv/')

# ---- where things go -----------------------------------------------------------------------------------------------
PREFIX ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
export PREFIX SYSCONFDIR DESTDIR OUT

# Objects of mirrorctl differ by instrumentation; BPF objects and skeletons do not.
O := $(OUT)$(if $(filter 1,$(SAN)),/san)$(if $(filter 1,$(COV)),/cov)
SKEL := $(OUT)/skel

# ---- flags ---------------------------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wstrict-prototypes -Wpointer-arith -Wvla $(if $(filter 1,$(WERROR)),-Werror)
MAP := -ffile-prefix-map=$(CURDIR)=.
LIBS := libxdp libbpf libelf zlib libmnl libcap json-c libconfuse libpcap
# Asked for only when something is compiled: `make deps` and `make clean` work on a bare host.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell $(PKG_CONFIG) --cflags $(LIBS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(shell $(PKG_CONFIG) --libs $(LIBS)))$(PKG_LIBS)

ifeq ($(SAN),1)
HARD := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
HARD_LD := -fsanitize=address,undefined
else
HARD := -O2 -g -D_FORTIFY_SOURCE=2
HARD_LD := -Wl,-z,relro,-z,now
endif
ifeq ($(COV),1)
HARD += --coverage
HARD_LD += --coverage
endif
# CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS stay the user's.
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE $(HARD) -fstack-protector-strong -fPIE $(WARN) $(MAP) -Iinclude -Imirrorctl -I$(SKEL) \
	$(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie $(HARD_LD) $(LDFLAGS)

# Headers of the host's C library, behind everything else: <asm/types.h> lives in a multiarch directory.
CLANG_SYS = $(eval CLANG_SYS := $$(shell $(CLANG) -v -E - </dev/null 2>&1 | \
	sed -n '/<...> search starts here:/,/End of search list./{ s| \(/.*\)|-idirafter \1|p }'))$(CLANG_SYS)
# Pieces in .bpf.h need not all be used by one object, and a program need not use its context.
BPF_CFLAGS = -target bpf -g -O2 -mcpu=v2 -D__TARGET_ARCH_$(ARCH) -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) \
	-Wno-unused-parameter -Wno-unused-function $(MAP) -Iinclude -Itc $(CLANG_SYS) $(if $(filter 1,$(DEBUG)),-DMIR_DEBUG)

# ---- what there is -------------------------------------------------------------------------------------------------
BPF_SRC := $(wildcard tc/*.bpf.c xdp/*.bpf.c)
BPF_TEST_SRC := $(wildcard tc/test/*.bpf.c xdp/test/*.bpf.c)
BPF_BENCH_SRC := $(wildcard netns-test/bench/*.bpf.c)
bpf_names = $(patsubst %.bpf.c,%,$(notdir $(1)))
# A skeleton's name is a C identifier.
skel_of = $(foreach n,$(call bpf_names,$(1)),$(SKEL)/$(subst .,_,$(subst -,_,$(n))).skel.h)
# What `mirrorctl wireshark install` writes, as arrays file_NAME.
WIRESHARK := configs/wireshark/mirror.lua configs/wireshark/profile/preferences configs/wireshark/profile/colorfilters
SKELS := $(call skel_of,$(BPF_SRC)) $(SKEL)/wireshark_files.h
TEST_SKELS := $(call skel_of,$(BPF_TEST_SRC))

SRC := $(wildcard mirrorctl/*.c)
OBJ := $(patsubst mirrorctl/%.c,$(O)/obj/%.o,$(SRC))
LIB := $(O)/libmirrorctl.a
BIN := $(O)/mirrorctl

# What drives programs in the kernel needs root and is a level of its own (check-bpf).
BPF_TESTS := $(patsubst mirrorctl/test/%.c,%,$(wildcard mirrorctl/test/bpf_*test.c))
UNIT_SRC := $(filter-out mirrorctl/test/bpf_%,$(wildcard mirrorctl/test/*_test.c))
UNIT := $(patsubst mirrorctl/test/%.c,$(O)/test/%,$(UNIT_SRC))
CLI_TESTS := $(wildcard mirrorctl/test/*_test.sh)
FUZZ_NAMES := $(patsubst mirrorctl/fuzz/fuzz_%.c,%,$(wildcard mirrorctl/fuzz/fuzz_*.c))
REPLAY := $(FUZZ_NAMES:%=$(O)/test/replay_%)
UNITS := $(patsubst configs/%,$(OUT)/units/%,$(wildcard configs/*.service))

.PHONY: all
all: $(SKELS) $(BIN) $(UNITS)

.PHONY: help
help:
	@echo 'all deps check check-bpf check-net check-bench check-vm vm-shell score soak bench bench-vm bench-compare bench-doc' \
		'figures console test demo fuzz lint format install uninstall clean'

# ---- BPF objects and skeletons -------------------------------------------------------------------------------------
define bpf_rule
$(OUT)/$(call bpf_names,$(1)).bpf.o: $(1) Makefile
	$$(say) BPF $$@
	$$(Q)mkdir -p $(OUT) $(SKEL)
	$$(Q)$$(CLANG) $$(BPF_CFLAGS) -MMD -MP -c $$< -o $$@
	$$(Q)$$(LLVM_STRIP) -g $$@

$(call skel_of,$(1)): $(OUT)/$(call bpf_names,$(1)).bpf.o
	$$(say) SKEL $$@
	$$(Q)$$(BPFTOOL) gen skeleton $$< name $$(basename $$(basename $$(notdir $$@))) > $$@
endef
$(foreach s,$(BPF_SRC) $(BPF_TEST_SRC) $(BPF_BENCH_SRC),$(eval $(call bpf_rule,$(s))))

$(SKEL)/wireshark_files.h: $(WIRESHARK) Makefile
	$(say) GEN $@
	$(Q)mkdir -p $(@D)
	$(Q)for f in $(WIRESHARK); do \
		echo "static const unsigned char file_$$(basename $$f | tr .- __)[] = {" && \
		od -An -v -tx1 $$f | sed 's/ \(..\)/0x\1,/g' && echo '};' || exit 1; \
	done > $@

# ---- mirrorctl -----------------------------------------------------------------------------------------------------
$(O)/obj/%.o: mirrorctl/%.c Makefile | $(SKELS)
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# Everything but main(), for the tests. Made anew: a file that was renamed must not linger in it.
$(LIB): $(filter-out $(O)/obj/main.o,$(OBJ))
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BIN): $(O)/obj/main.o $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) $(PKG_LIBS)

# ---- tests ---------------------------------------------------------------------------------------------------------
$(O)/test/%.o: mirrorctl/test/%.c Makefile | $(SKELS) $(TEST_SKELS)
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(O)/test/%_test: $(O)/test/%_test.o $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) $(PKG_LIBS) -lcmocka

$(O)/fuzz/%.o: mirrorctl/fuzz/%.c Makefile | $(SKELS)
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# A fuzz target with a plain main() that runs the files it is given.
$(O)/test/replay_%: $(O)/fuzz/fuzz_%.o $(O)/fuzz/replay.o $(LIB)
	$(say) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) $(PKG_LIBS)

# The BPF tables drive the skeletons of tc/ and tc/test/ directly.
.PHONY: bpf-test-build
bpf-test-build: $(SKELS) $(TEST_SKELS) $(BPF_TESTS:%=$(O)/test/%)

.PHONY: unit-build
unit-build: $(UNIT) $(REPLAY) $(BIN)

TAP := $(PYTHON) .ci/tap.py
SAN_OUT := $(OUT)/san

# No root needed. Everything runs twice, the second time under the sanitizers.
.PHONY: check
check: all unit-build
	$(Q)+$(MAKE) --no-print-directory SAN=1 unit-build
	$(Q)$(TAP) run check \
		$(foreach t,$(UNIT),'$(notdir $t)::$t' 'san/$(notdir $t)::$(SAN_OUT)/test/$(notdir $t)') \
		$(foreach n,$(FUZZ_NAMES),'san/replay_$n::$(SAN_OUT)/test/replay_$n mirrorctl/fuzz/corpus/$n') \
		$(foreach t,$(CLI_TESTS),'$(notdir $t)::$t') 'san/cli_test.sh::mirrorctl/test/cli_test.sh $(SAN_OUT)/mirrorctl' \
		'score_tally::$(PYTHON) netns-test/score/tally_test.py' \
		'bench_compare::$(PYTHON) netns-test/bench/compare_test.py' \
		'docs::$(PYTHON) docs/check.py $(BIN)'

.PHONY: check-bpf
check-bpf: bpf-test-build
	$(Q)$(TAP) run check-bpf $(foreach t,$(BPF_TESTS),'$t::$(O)/test/$t')

.PHONY: check-net
check-net: all $(OUT)/beside.bpf.o
	$(Q)$(TAP) run check-net 'netns::$(PYTHON) netns-test/run.py' 'tap::$(PYTHON) netns-test/tap/run.py'

# How exact mirrorctl is beside other tools, packet by packet; writes docs/exactness.md. SCORE narrows it to scenarios by name
# (then nothing is written). No part of `test`: it measures other people's programs too.
SCORE ?=
SCORE_TOOLS ?= mirrorctl dumpcap nsntrace
.PHONY: score
score: all
	$(Q)$(PYTHON) netns-test/score/main.py $(SCORE_TOOLS:%=--tool %) \
		$(if $(SCORE),$(SCORE),--json $(OUT)/score.json --report docs/exactness.md)

# The same mirror for SOAK seconds under changing load: exact in every round, memory and descriptors flat.
SOAK ?= 3600
.PHONY: soak
soak: all
	$(Q)$(PYTHON) netns-test/score/main.py --soak $(SOAK)

# The same tests on Debian's kernels, in virtual machines: all of them, or KERNEL=6.1; what differs from kernel to kernel, or
# with EXHAUSTIVE=1 everything. Needs the network once a day.
.PHONY: check-vm vm-shell vm-build
vm-build: all bpf-test-build $(OUT)/beside.bpf.o

check-vm: vm-build
	$(Q)$(TAP) run check-vm 'vm::$(PYTHON) netns-test/vm/vm.py $(KERNEL)'

# Boots every kernel to ask what it makes of the mirror; writes docs/kernels.md and the verifier's budget.
.PHONY: kernels-doc
kernels-doc: vm-build
	$(Q)VM_COLUMN=facts $(PYTHON) netns-test/vm/vm.py || :
	$(Q)$(PYTHON) netns-test/vm/table.py --budget > $(OUT)/vm/budget && mv $(OUT)/vm/budget netns-test/vm/budget.txt
	$(Q)$(PYTHON) netns-test/vm/table.py > $(OUT)/vm/kernels.md && mv $(OUT)/vm/kernels.md docs/kernels.md

vm-shell: vm-build
	$(Q)$(PYTHON) netns-test/vm/vm.py --shell $(KERNEL)

# What the mirror costs, against no program and against the kernel's own ways to copy a packet: a quarter of an hour, no network.
# BENCH: where the figures go; BENCH_WHAT: some of the measures; BENCH_FLAGS: see netns-test/bench/main.py. BENCH_LONG=1: with
# 1,000,000 sockets too, ten minutes more and 4 GB of memory.
BENCH ?= $(OUT)/bench.json
BENCH_WHAT ?=
BENCH_FLAGS ?=
$(OUT)/bench/load: netns-test/bench/load.c Makefile
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(HARD) $(WARN) $(MAP) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(LDFLAGS)

.PHONY: bench
bench: all $(OUT)/bench/load $(patsubst %,$(OUT)/%.bpf.o,$(call bpf_names,$(BPF_BENCH_SRC)))
	$(Q)$(PYTHON) netns-test/bench/main.py --json $(BENCH) $(if $(filter 1,$(BENCH_LONG)),--long) $(BENCH_FLAGS) $(BENCH_WHAT)

# What owner programs cost where trampolines load and where they do not, in the same guest: KERNEL=6.12, or another one.
# VM_BENCH: other words for netns-test/bench/main.py.
.PHONY: bench-vm
bench-vm: vm-build $(OUT)/bench/load
	$(Q)VM_COLUMN=bench $(PYTHON) netns-test/vm/vm.py $(or $(KERNEL),6.12)

# Is one of two runs faster, or was it noise? make bench-compare OLD=before.json NEW=after.json
.PHONY: bench-compare
bench-compare:
	$(Q)$(PYTHON) netns-test/bench/compare.py $(OLD) $(NEW)

# The figures of docs/performance.md, from BENCH, and tables measured again from BENCH_FURTHER; and those of runs apart: of guests,
# and with many sockets.
BENCH_APART ?= $(wildcard $(OUT)/vm/$(or $(KERNEL),6.12)/bench.json)
.PHONY: bench-doc bench-doc-apart
bench-doc: bench-doc-apart
	$(Q)$(PYTHON) netns-test/bench/doc.py $(BENCH) $(BENCH_FURTHER) docs/performance.md

bench-doc-apart:
	$(Q)for f in $(BENCH_APART); do $(PYTHON) netns-test/bench/doc.py --apart $$f docs/performance.md || exit; done

# Has the mirror become slow, or a capture incomplete? Half a minute, wide margins. In a mount namespace without a BPF file system,
# as on a host just booted.
.PHONY: check-bench
check-bench: UNMOUNTED = unshare -m sh -ec "while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf; done; exec $$*" sh
check-bench: all $(OUT)/bench/load
	$(Q)$(TAP) run check-bench 'bench::$(UNMOUNTED) $(PYTHON) netns-test/bench/gate.py'

LEVELS := check check-bpf check-net check-bench check-vm

.PHONY: test
test:
	$(Q)rm -rf $(OUT)/tap
	$(Q)+for level in $(LEVELS); do $(MAKE) --no-print-directory $$level || :; done; $(TAP) total $(LEVELS)

.PHONY: demo
demo: deps
	$(Q)+$(MAKE) --no-print-directory all
	$(Q)netns-test/demo.sh

# Figures of docs/. COST=FILE: new data for the chart, the JSON of a benchmark.
COST ?=
.PHONY: figures
figures:
	$(Q)$(PYTHON) docs/figures.py $(if $(COST),--cost $(COST))

# Runs the commands that these pages show and writes what they print (root; docs/console.py says where).
.PHONY: console
console: all
	$(Q)$(PYTHON) docs/console.py README.md docs/development.md

# libFuzzer needs clang; 60 s for each target unless FUZZ_TIME says otherwise. New inputs stay below .output/.
FUZZ_TIME ?= 60
.PHONY: fuzz
fuzz: $(SKELS)
	$(Q)for n in $(FUZZ_NAMES); do \
		mkdir -p $(OUT)/fuzz/$$n && \
		$(CLANG) -std=gnu17 -D_GNU_SOURCE -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Iinclude \
			-Imirrorctl -I$(SKEL) $(PKG_CFLAGS) -o $(OUT)/fuzz/fuzz_$$n mirrorctl/fuzz/fuzz_$$n.c \
			$(filter-out mirrorctl/main.c,$(SRC)) $(LDFLAGS) $(LDLIBS) $(PKG_LIBS) && \
		$(OUT)/fuzz/fuzz_$$n -max_total_time=$(FUZZ_TIME) -max_len=4096 -artifact_prefix=$(OUT)/fuzz/ \
			$(OUT)/fuzz/$$n mirrorctl/fuzz/corpus/$$n || exit 1; \
	done

# ---- lint ----------------------------------------------------------------------------------------------------------
SHELL_SRC := $(shell grep -rlE '^\#!.*\b(ba|da)?sh\b' .ci configs mirrorctl netns-test 2>/dev/null)

.PHONY: lint lint-style lint-shell lint-cppcheck lint-man lint-tidy
lint: lint-style lint-shell lint-cppcheck lint-man lint-tidy

lint-style:
	$(say) LINT style
	$(Q)$(PYTHON) .ci/lint.py

lint-shell:
	$(say) LINT shellcheck
	$(Q)$(if $(SHELL_SRC),shellcheck $(SHELL_SRC))

# Neither analyser knows __attribute__((cleanup)): leaks are left to the sanitizers.
lint-cppcheck: $(SKELS) $(TEST_SKELS)
	$(say) LINT cppcheck
	$(Q)cppcheck --quiet --error-exitcode=1 --std=c11 -D_GNU_SOURCE --inline-suppr \
		--enable=warning,portability,performance --suppress=missingIncludeSystem --suppress=unknownMacro \
		--suppress=*:$(SKEL)/* --suppress=memleak --suppress=resourceLeak -Iinclude -Imirrorctl mirrorctl

lint-man:
	$(say) LINT mandoc
	$(Q)mandoc -Tlint -Wwarning $(wildcard docs/*.[1-9])

lint-tidy: $(SKELS) $(TEST_SKELS)
	$(say) LINT clang-tidy
	$(Q)printf '%s\n' $(SRC) $(wildcard mirrorctl/test/*.c mirrorctl/fuzz/*.c) | xargs -P $$(nproc) -n 4 sh -c \
		'clang-tidy --quiet "$$@" -- -std=gnu17 -D_GNU_SOURCE -Iinclude -Imirrorctl -I$(SKEL) $(PKG_CFLAGS) \
		2>/dev/null' clang-tidy

.PHONY: format
format:
	$(Q)clang-format -i $(wildcard mirrorctl/*.[ch] mirrorctl/*/*.[ch])

# ---- install -------------------------------------------------------------------------------------------------------
# Units name the installed binary.
$(OUT)/units/%: configs/% Makefile
	$(say) GEN $@
	$(Q)mkdir -p $(@D)
	$(Q)sed -e 's|@BINDIR@|$(PREFIX)/bin|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' $< > $@

# PREFIX may differ from the last build's.
.PHONY: install
install: all
	$(Q)rm -rf $(OUT)/units
	$(Q)+$(MAKE) --no-print-directory $(UNITS)
	$(Q)configs/install.sh install

.PHONY: uninstall
uninstall:
	$(Q)configs/install.sh uninstall

# ---- dependencies --------------------------------------------------------------------------------------------------
DEPS_BUILD := gcc make clang llvm bpftool libbpf-dev libxdp-dev libelf-dev zlib1g-dev libmnl-dev libcap-dev \
	libjson-c-dev libconfuse-dev libpcap-dev linux-libc-dev libc6-dev pkg-config
DEPS_TEST := libcmocka-dev libclang-rt-dev shellcheck cppcheck clang-tidy clang-format mandoc zsh fish python3 \
	qemu-system-x86 iproute2 iptables nftables iputils-ping ethtool nsntrace tcpdump tshark curl iperf3 strace procps kmod \
	util-linux libcap2-bin systemd wireguard-tools

# Installs what is missing on Debian 12 (root), and is done at once when nothing is.
.PHONY: deps
deps:
	@command -v dpkg-query >/dev/null || { echo 'make deps knows Debian; elsewhere install the equivalents of:' \
		'$(DEPS_BUILD) $(DEPS_TEST)' >&2; exit 1; }; \
	missing=; for p in $(DEPS_BUILD) $(DEPS_TEST); do \
		dpkg-query -W -f '$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then echo 'deps: all there'; exit 0; fi; \
	echo "deps: missing:$$missing"; \
	if [ "$$(id -u)" -ne 0 ]; then echo "deps: run as root: apt-get install$$missing" >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -q -y --no-install-recommends $$missing

.PHONY: clean
clean:
	$(Q)rm -rf $(OUT)

-include $(wildcard $(OUT)/*.d $(O)/obj/*.d $(O)/test/*.d $(O)/fuzz/*.d)
