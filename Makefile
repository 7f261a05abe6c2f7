# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# LRP for Linux. `make help` lists the targets.

VERSION := 0.1.0
SOVERSION := 0

B := build
BIN := $(B)/bin
LIB := $(B)/lib
BPF := $(B)/bpf
OBJ ?= $(B)/obj

PREFIX ?= /usr/local
SBINDIR := $(PREFIX)/sbin
BINDIR := $(PREFIX)/bin
LIBDIR := $(PREFIX)/lib
INCLUDEDIR := $(PREFIX)/include
MANDIR := $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
GROUP := lrp

CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
LLVM_STRIP ?= $(patsubst clang%,llvm-strip%,$(CLANG))
# x86_64-linux-gnu and the like: where Debian keeps asm/types.h, natively and for cross compilers.
MULTIARCH := $(or $(shell $(CC) -print-multiarch 2>/dev/null),\
	$(shell $(CC) -dumpmachine 2>/dev/null))

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
OPT ?= -O2 -g
# Sanitizers bring their own.
HARDEN ?= $(if $(SAN),,-fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
HARDEN_LD ?= $(if $(SAN),,-Wl,-z,relro,-z,now)
PIE ?= $(if $(SAN),,-pie)

# V=1 shows the commands.
Q := $(if $(V),,@)
say = @printf '  %-6s %s\n' $(1) $(2)
CPPFLAGS += -D_GNU_SOURCE -Iinclude -I. -I$(BPF) -DLRP_VERSION='"$(VERSION)"'
CFLAGS += -std=gnu11 $(OPT) $(HARDEN) $(WARN) -fvisibility=hidden -fPIC -pthread $(SAN)
LDFLAGS += $(HARDEN_LD)
# What an application needs, and what the core needs besides.
CLIENT_LIBS := -lmnl -lpthread
CORE_LIBS := -lxdp -lbpf -ljson-c
# Programs and tests of this tree have both in them. LRP_EMBED: the core for lrp_embed(), too.
LDLIBS := $(CORE_LIBS) $(CLIENT_LIBS)
LRP_LIBS = $(LIB)/liblrp-embed.a $(LIB)/liblrp.a
LRP_EMBED := -Wl,-u,lrp_embedded_core
BPF_CFLAGS := -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter -Iinclude -Ibpf \
	-idirafter /usr/include/$(MULTIARCH) -idirafter /usr/$(MULTIARCH)/include

# Debian packages, and what shows that each is there [tools/deps.sh]. First what `make` needs.
# A version of clang other than Debian's default: make CLANG=clang-16.
DEPS := $(notdir $(CLANG))=x:$(CLANG) \
	$(patsubst clang%,llvm%,$(notdir $(CLANG)))=x:$(LLVM_STRIP) bpftool=x:$(BPFTOOL) \
	gcc=x:$(firstword $(CC)) libc6-dev=c:stdio.h libbpf-dev=c:bpf/libbpf.h \
	libxdp-dev=c:xdp/xsk.h libmnl-dev=c:libmnl/libmnl.h libjson-c-dev=c:json-c/json.h \
	libncurses-dev=c:ncurses.h libelf-dev=c:libelf.h zlib1g-dev=c:zlib.h \
	libcap-dev=c:sys/capability.h
# What demo and benches need besides, and what tests need.
RUN_DEPS := iproute2=x:ip ethtool=x:ethtool util-linux=x:unshare procps=x:pgrep \
	gnuplot-nox=x:gnuplot
TEST_DEPS := $(RUN_DEPS) pkg-config=x:pkg-config iputils-ping=x:ping jq=x:jq tcpdump=x:tcpdump \
	libcmocka-dev=c:cmocka.h nftables=x:nft traceroute=x:traceroute iputils-arping=x:arping \
	iputils-tracepath=x:tracepath udhcpd=x:udhcpd udhcpc=x:udhcpc radvd=x:radvd

BPF_SRC := $(wildcard bpf/*.bpf.c)
BPF_OBJ := $(BPF_SRC:bpf/%.bpf.c=$(BPF)/%.bpf.o)
SKEL := $(BPF_SRC:bpf/%.bpf.c=$(BPF)/%.skel.h)
BPF_HDR := $(wildcard bpf/*.h) include/lrp/abi.h

# liblrp, for applications; and the core, for lrpd and the embedded mode, which takes the lowest
# folders of the runtime as well [docs/architecture.md, "Layers"].
CLIENT_SRC := $(filter-out runtime/embed/%,$(wildcard runtime/*/*.c))
CORE_SRC := $(wildcard runtime/embed/*.c) \
	$(filter-out %/lrpd.c %/keeper.c,$(wildcard loader/*.c loader/*/*.c))
LIB_SRC := $(CLIENT_SRC) $(CORE_SRC)
CLIENT_OBJ := $(CLIENT_SRC:%.c=$(OBJ)/%.o)
CORE_OBJ := $(CORE_SRC:%.c=$(OBJ)/%.o)
LIB_OBJ := $(CLIENT_OBJ) $(CORE_OBJ)

# Programs: one main each. Further sources of a program lie beside it.
PROGRAMS := lrp lrpd lrp-keeper lrp-proxy
lrp_SRC := $(wildcard tools/lrp.c tools/lrp_*.c)
lrpd_SRC := $(wildcard loader/lrpd.c loader/*/lrpd.c)
lrp-keeper_SRC := $(wildcard loader/keeper.c loader/*/keeper.c)
lrp-proxy_SRC := $(wildcard proxy/*.c)

COST_SRC := $(wildcard tools/bench/*_cost.c tools/bench/*_rate.c)
LOAD_SRC := $(wildcard tools/load/lrp-load.c)
# What load generator, benches and demo share: injection and the measuring bed.
BED_SRC := $(filter-out tools/load/lrp-load.c,$(wildcard tools/load/*.c)) $(wildcard tools/bench/bed/*.c)
BED_OBJ := $(BED_SRC:%.c=$(OBJ)/%.o)
# What runs as the server in the measuring bed.
SERVER_SRC := $(wildcard tools/bench/sink.c tools/bench/echo.c tools/bench/stream.c)
BENCH_SRC := $(filter-out $(COST_SRC) $(SERVER_SRC),$(wildcard tools/bench/*.c))
DEMO_SRC := $(wildcard tools/demo/*.c)
EXAMPLES := $(patsubst docs/examples/%.c,$(BIN)/example-%,$(wildcard docs/examples/*.c))
COST := $(patsubst tools/bench/%.c,$(BIN)/%,$(COST_SRC) $(SERVER_SRC))

TEST_LIB_SRC := $(wildcard tests/lib/*.c)
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
BPFT := $(patsubst tests/bpf/%.c,$(B)/tests/bpf/%,$(wildcard tests/bpf/test_*.c))
SIM := $(patsubst tests/sim/%.c,$(B)/tests/sim/%,$(wildcard tests/sim/test_*.c))
NETT := $(patsubst tests/net/%.c,$(B)/tests/net/%,$(wildcard tests/net/test_*.c))
NETSH := $(wildcard tests/net/test_*.sh)
# Tests in net/ that mostly wait for timers: each uses less than a tenth of a CPU, so two run at once.
NET_IDLE := $(filter %/test_socket_attach %/test_socket_errors %/test_socket_options \
	%/test_socket_receive %/test_stream_accept %/test_stream_close %/test_stream_connect \
	%/test_stream_exit %/test_stream_flags %/test_stream_icmp %/test_stream_linger \
	%/test_stream_listen %/test_stream_orphan %/test_stream_ports %/test_stream_workers \
	%/test_trust %/test_tx_follow %/test_tx_tap %/test_tx_tcp %/test_tx_wire,$(NETT))
MUTANTS := tests/mutants/run.sh
# Unit tests that wait for the kernel, with deadlines. All else in unit/, sim/, bpf/ and fuzz/ may run
# beside another test.
UNIT_TIMED := $(filter %/test_broker %/test_grace %/test_reclaim,$(UNIT))
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

# What `make check` spends on each storm and fuzz target; check-long sets more.
export LRP_FUZZ_SECONDS ?= 5
export LRP_SOAK_SECONDS ?= 30

# For tests/mutants/run.sh.
export LRP_TEST_LIBS := $(LDLIBS) -lm

.PHONY: all deps demo check mutants check-unit check-bpf check-net check-long bench san fuzz lint layers \
	format install uninstall clean help build-all check-build
.DELETE_ON_ERROR:
.SECONDARY:

all: deps
	@$(MAKE) --no-print-directory build-all

help:
	@echo 'make all        build everything into build/ (installs missing Debian packages first)'
	@echo 'make deps       install what is missing from Debian'"'"'s packages'
	@echo 'sudo make demo  overload a server on stock sockets and on LRP, side by side'
	@echo 'sudo make check all tests; check-unit needs no root; check-bpf, check-net; check-long runs storms long'
	@echo 'sudo make bench Figure 3, MLFRR, Table 1, Figure 4 in quick form; lrp-bench NAME runs any one'
	@echo 'make mutants    is there a test that fails for each mechanism of TCP that is switched off'
	@echo 'make san        unit tests under address and undefined-behaviour sanitizers, then thread sanitizer'
	@echo 'make fuzz       fuzz every parser, LRP_FUZZ_SECONDS each'
	@echo 'make layers     do the folders keep their order, are files and functions short (part of lint)'
	@echo 'make lint format install uninstall clean'

deps:
	@CC='$(CC)' CLANG='$(CLANG)' tools/deps.sh $(DEPS)

demo bench: DEPS += $(RUN_DEPS)
check check-bpf check-net check-long san fuzz: DEPS += $(TEST_DEPS)
check check-long fuzz: DEPS += libclang-rt-%-dev=r:libclang_rt.fuzzer

build-all: $(BPF_OBJ) $(SKEL) $(LIB)/liblrp.so $(LIB)/liblrp-embed.so $(LRP_LIBS) \
	$(LIB)/pkgconfig/lrp.pc $(LIB)/pkgconfig/lrp-embed.pc \
	$(PROGRAMS:%=$(BIN)/%) $(EXAMPLES) $(COST) \
	$(if $(LOAD_SRC),$(BIN)/lrp-load) $(if $(BENCH_SRC),$(BIN)/lrp-bench) $(if $(DEMO_SRC),$(BIN)/lrp-demo)

# ---- BPF -----------------------------------------------------------------

$(BPF)/%.bpf.o: bpf/%.bpf.c $(BPF_HDR)
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@
	@$(LLVM_STRIP) -g $@ 2>/dev/null || true

# Skeleton names: bpf/lrp_xdp.bpf.c -> struct lrp_xdp_bpf in lrp_xdp.skel.h.
$(BPF)/%.skel.h: $(BPF)/%.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst -,_,$*)_bpf > $@

# ---- library --------------------------------------------------------------

$(OBJ)/%.o: %.c | $(SKEL)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# liblrp-embed.so lies beside it, whatever directory that is: $ORIGIN.
$(LIB)/liblrp.so.$(SOVERSION): $(CLIENT_OBJ) runtime/lrp.map
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,liblrp.so.$(SOVERSION) -Wl,-rpath,'$$ORIGIN' \
		-Wl,--version-script=runtime/lrp.map -Wl,-z,defs -o $@ $(CLIENT_OBJ) $(CLIENT_LIBS)

$(LIB)/liblrp-embed.so.$(SOVERSION): $(CORE_OBJ) $(LIB)/liblrp.a runtime/embed.map
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,liblrp-embed.so.$(SOVERSION) \
		-Wl,--version-script=runtime/embed.map -Wl,-z,defs -o $@ $(CORE_OBJ) $(LIB)/liblrp.a \
		$(CORE_LIBS) $(CLIENT_LIBS)

$(LIB)/%.so: $(LIB)/%.so.$(SOVERSION)
	@ln -sf $*.so.$(SOVERSION) $@

$(LIB)/liblrp.a: $(CLIENT_OBJ)
$(LIB)/liblrp-embed.a: $(CORE_OBJ)
$(LIB)/liblrp.a $(LIB)/liblrp-embed.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(LIB)/pkgconfig/%.pc: runtime/%.pc.in Makefile
	@mkdir -p $(@D)
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' $< > $@

# ---- programs -------------------------------------------------------------
# Static against both libraries: a tool must work before anything is installed.

define program
$(BIN)/$(1): $(2:%.c=$(OBJ)/%.o) $(4) $(LRP_LIBS)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) $(LRP_EMBED) -o $$@ $$^ $(LDLIBS) $(3)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p),$($(p)_SRC),)))
$(eval $(call program,lrp-load,$(LOAD_SRC),,$(BED_OBJ)))
$(eval $(call program,lrp-bench,$(BENCH_SRC),-lm,$(BED_OBJ)))
$(eval $(call program,lrp-demo,$(DEMO_SRC),-lncurses -ltinfo -lm,$(BED_OBJ)))

$(BIN)/example-%: $(OBJ)/docs/examples/%.o $(LRP_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) $(LRP_EMBED) -o $@ $^ $(LDLIBS)

$(COST): $(BIN)/%: $(OBJ)/tools/bench/%.o $(LRP_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) $(LRP_EMBED) -o $@ $^ $(LDLIBS) -lm

# ---- tests ----------------------------------------------------------------

TEST_LIB_OBJ := $(TEST_LIB_SRC:%.c=$(OBJ)/%.o)
BPF_HARNESS_OBJ := $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(wildcard tests/bpf/test_*.c),$(wildcard tests/bpf/*.c)))
SIM_HARNESS_OBJ := $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(wildcard tests/sim/test_*.c),$(wildcard tests/sim/*.c)))
NET_HARNESS_OBJ := $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(wildcard tests/net/test_*.c),$(wildcard tests/net/*.c)))

$(B)/tests/unit/%: $(OBJ)/tests/unit/%.o $(TEST_LIB_OBJ) $(LRP_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) $(LRP_EMBED) -o $@ $^ -lcmocka $(LDLIBS) -lm

$(B)/tests/sim/%: $(OBJ)/tests/sim/%.o $(SIM_HARNESS_OBJ) $(TEST_LIB_OBJ) $(LRP_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) $(LRP_EMBED) -o $@ $^ -lcmocka $(LDLIBS) -lm

$(B)/tests/bpf/%: $(OBJ)/tests/bpf/%.o $(BPF_HARNESS_OBJ) $(TEST_LIB_OBJ) $(LRP_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) $(LRP_EMBED) -o $@ $^ -lcmocka $(LDLIBS) -lm

$(B)/tests/net/%: $(OBJ)/tests/net/%.o $(NET_HARNESS_OBJ) $(TEST_LIB_OBJ) $(LRP_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PIE) $(LDFLAGS) $(LRP_EMBED) -o $@ $^ -lcmocka $(LDLIBS) -lm

$(OBJ)/tests/%.o: CFLAGS += -Wno-missing-prototypes

# The library once more with the sanitizers, for the fuzz targets.
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_LIB_OBJ := $(LIB_SRC:%.c=$(B)/fuzz-obj/%.o)
$(B)/fuzz-obj/%.o: %.c | $(SKEL)
	@mkdir -p $(@D)
	$(call say,FUZZCC,$<)
	$(Q)$(CLANG) $(CPPFLAGS) -std=gnu11 -O1 -g -Wno-gnu-variable-sized-type-not-at-end -fsanitize=fuzzer-no-link $(FUZZ_SAN) -fPIC -pthread -MMD -MP -c $< -o $@
$(B)/fuzz-obj/liblrp.a: $(FUZZ_LIB_OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^
$(B)/fuzz/%: tests/fuzz/%.c $(B)/fuzz-obj/liblrp.a
	@mkdir -p $(@D)
	$(call say,FUZZLD,$@)
	$(Q)$(CLANG) $(CPPFLAGS) -std=gnu11 -O1 -g -fsanitize=fuzzer $(FUZZ_SAN) -pthread -o $@ $^ $(LDLIBS)

check-build: build-all $(UNIT) $(SIM) $(BPFT) $(NETT)

check: deps
	@$(MAKE) --no-print-directory -j2 check-build $(FUZZ)
	@tests/lib/run.sh -j 2 $(BPFT) $(SIM) $(FUZZ) $(filter-out $(UNIT_TIMED),$(UNIT)) \
		$(NET_IDLE) -j 1 $(MUTANTS) $(UNIT_TIMED) $(filter-out $(NET_IDLE),$(NETT)) $(NETSH)

check-unit:
	@$(MAKE) --no-print-directory -j2 $(UNIT) $(SIM)
	@tests/lib/run.sh -j 2 $(SIM) $(filter-out $(UNIT_TIMED),$(UNIT)) -j 1 $(UNIT_TIMED)

# Does a test fail for each mechanism of TCP that is switched off?
mutants:
	@$(MAKE) --no-print-directory -s -j2 $(UNIT) $(SIM)
	@tests/mutants/run.sh

check-bpf: deps
	@$(MAKE) --no-print-directory -j2 check-build
	@tests/lib/run.sh -j 2 $(BPFT)

check-net: deps
	@$(MAKE) --no-print-directory -j2 check-build
	@tests/lib/run.sh -j 2 $(NET_IDLE) -j 1 $(filter-out $(NET_IDLE),$(NETT)) $(NETSH)

check-long: export LRP_FUZZ_SECONDS = 600
check-long: export LRP_SOAK_SECONDS = 600
check-long: export LRP_STORM = 10000000
check-long: check

fuzz: deps
	@$(MAKE) --no-print-directory -j2 $(FUZZ)
	@LRP_FUZZ_SECONDS=$${LRP_FUZZ_SECONDS:-60} tests/lib/run.sh -j 2 $(FUZZ)

# Unit tests once with address and undefined-behaviour, once with the thread sanitizer.
san: deps
	@$(MAKE) --no-print-directory -j2 B=build/asan OBJ=build/asan/obj SAN='-fsanitize=address,undefined -fno-sanitize-recover=undefined' check-unit
	@$(MAKE) --no-print-directory -j2 B=build/tsan OBJ=build/tsan/obj SAN='-fsanitize=thread' check-unit

bench: deps
	@$(MAKE) --no-print-directory -j2 build-all
	@$(BIN)/lrp-bench quick --json $(B)/bench

demo: deps
	@$(MAKE) --no-print-directory -j2 build-all
	@$(BIN)/lrp-demo

# ---- housekeeping ----------------------------------------------------------

C_FILES = $(shell git ls-files '*.c' '*.h')

lint format: DEPS += cppcheck=x:cppcheck clang-format=x:clang-format
lint: deps
	@$(MAKE) --no-print-directory -j2 layers
	@cppcheck -j 2 --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
		--suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck \
		-D'LIBBPF_OPTS(type,name,...)=struct type name={0}' -D'__has_include(x)=0' \
		-Iinclude -I. $(LIB_SRC) $(wildcard tools/*.c proxy/*.c)
	@clang-format --dry-run --Werror $(C_FILES)

# Do the folders keep their order, by includes and by calls; and are files and functions short?
layers: $(LIB_OBJ)
	@tools/lint/layers $(OBJ) $(LIB_OBJ)
	@tools/lint/sizes

format: deps
	@clang-format -i $(C_FILES)

MAN := $(wildcard docs/man/*.[1-8])
SYSTEMD := [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null

# Without DESTDIR what comes after copying is done, too: the group, the linker's cache, systemd.
# lrp-bench stays in build/bin: it needs the servers that lie beside it there.
install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig \
		$(DESTDIR)$(INCLUDEDIR)/lrp $(DESTDIR)$(UNITDIR) \
		$(patsubst %,$(DESTDIR)$(MANDIR)/man%,$(sort $(subst .,,$(suffix $(MAN)))))
	install -m 755 $(BIN)/lrp $(BIN)/lrpd $(BIN)/lrp-keeper $(BIN)/lrp-proxy $(DESTDIR)$(SBINDIR)
	@# `lrp status` is for everybody, and not everybody has sbin in PATH.
	ln -sf $(SBINDIR)/lrp $(DESTDIR)$(BINDIR)/lrp
	install -m 755 $(BIN)/lrp-load $(DESTDIR)$(BINDIR)
	for l in lrp lrp-embed; do \
		install -m 755 $(LIB)/lib$$l.so.$(SOVERSION) $(DESTDIR)$(LIBDIR) && \
		ln -sf lib$$l.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/lib$$l.so && \
		install -m 644 $(LIB)/lib$$l.a $(DESTDIR)$(LIBDIR) && \
		sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' runtime/$$l.pc.in \
			> $(DESTDIR)$(LIBDIR)/pkgconfig/$$l.pc || exit 1; done
	install -m 644 include/lrp/*.h $(DESTDIR)$(INCLUDEDIR)/lrp
	for f in $(MAN); do install -m 644 $$f $(DESTDIR)$(MANDIR)/man$${f##*.} || exit 1; done
	sed 's|@SBINDIR@|$(SBINDIR)|' loader/daemon/lrpd.service > $(DESTDIR)$(UNITDIR)/lrpd.service
	@[ -n "$(DESTDIR)" ] || getent group $(GROUP) >/dev/null || groupadd --system $(GROUP)
	@[ -n "$(DESTDIR)" ] || ldconfig
	@[ -n "$(DESTDIR)" ] || ldconfig -p | grep -q 'liblrp\.so\.$(SOVERSION)' || \
		echo "The linker does not look into $(LIBDIR):" \
			"add it to /etc/ld.so.conf.d and run ldconfig."
	@if $(SYSTEMD); then systemctl daemon-reload; fi

uninstall:
	@if $(SYSTEMD); then systemctl disable --now lrpd.service 2>/dev/null || true; fi
	rm -f $(DESTDIR)$(SBINDIR)/lrp $(DESTDIR)$(SBINDIR)/lrpd $(DESTDIR)$(SBINDIR)/lrp-keeper \
		$(DESTDIR)$(SBINDIR)/lrp-proxy \
		$(DESTDIR)$(BINDIR)/lrp $(DESTDIR)$(BINDIR)/lrp-load \
		$(foreach l,lrp lrp-embed,$(foreach f,lib$l.so lib$l.so.$(SOVERSION) lib$l.a pkgconfig/$l.pc,\
			$(DESTDIR)$(LIBDIR)/$f)) \
		$(DESTDIR)$(UNITDIR)/lrpd.service
	rm -f $(patsubst include/lrp/%,$(DESTDIR)$(INCLUDEDIR)/lrp/%,$(wildcard include/lrp/*.h))
	rmdir $(DESTDIR)$(INCLUDEDIR)/lrp 2>/dev/null || true
	for f in $(MAN); do rm -f $(DESTDIR)$(MANDIR)/man$${f##*.}/$$(basename $$f); done
	@[ -n "$(DESTDIR)" ] || ! getent group $(GROUP) >/dev/null || groupdel $(GROUP)
	@[ -n "$(DESTDIR)" ] || ldconfig
	@if $(SYSTEMD); then systemctl daemon-reload; fi

clean:
	rm -rf build

-include $(shell find $(OBJ) $(B)/fuzz-obj -name '*.d' 2>/dev/null)
