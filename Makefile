# SPDX-License-Identifier: MIT
# Thimble. `make help` lists the targets.
#
#   config=release   optimised (default), into build/
#   config=debug     no optimisation, assertions, into build/debug/
#   config=sanitize  address and undefined-behaviour sanitizers, into build/sanitize/
#   CXX=clang++      another compiler; give it a build folder of its own with BUILD=
#   V=1              shows whole commands and all that the tests say, not a line for each
#   -jN              so many jobs at a time; without it, one a processor

config ?= release
CXX ?= g++
CC ?= gcc
AR ?= ar
PREFIX ?= /usr/local
MODEL ?= models/story.thimble

ifeq ($(config),release)
BUILD ?= build
OPT := -O3 -DNDEBUG
# Tools that no weights go through, and tests, whose time is the engine's: compiled in three quarters of the time.
LIGHT := $(if $(findstring -O,$(EXTRA)),,-O1)
else ifeq ($(config),debug)
BUILD ?= build/debug
OPT := -O0 -g
else ifeq ($(config),sanitize)
BUILD ?= build/sanitize
OPT := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
else
$(error config is release, debug or sanitize, not '$(config)')
endif
OPT += $(EXTRA)

ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
# `make clean all` one after the other.
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
# Two halves that print as they go would mix; a story is to be seen as it comes.
ifneq ($(filter test-firmware,$(MAKECMDGOALS)),)
MAKEFLAGS += -Otarget
endif

# $(call say,WHAT,FILE): the line for a command, where make does not show the command itself.
ifeq ($(V),1)
say = :
else
Q := @
say = $(if $(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),:,printf '%-5s%s\n' $(1) $(2))
endif

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wdouble-promotion -Werror
BASE := $(OPT) $(WARN) -Iinclude -MMD -MP
ENGINE := -std=c++17 $(BASE) -Isrc -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno \
          -fno-builtin-bcmp \
 -ffunction-sections -fdata-sections
HOST := -std=c++17 $(BASE) -Isrc -Itools -ffp-contract=off

# What takes longest comes first, so that no processor waits for it in the end.
ENGINE_SRC := $(wildcard src/kernels/*.cpp src/*.cpp)
TOOL_SRC := $(wildcard tools/train/*.cpp tools/*.cpp tools/constrain/*.cpp tools/intents/*.cpp tools/readers/*.cpp)
TEST_SRC := $(wildcard tests/test_*.cpp)
# The tests call the tools' functions directly too, all but their main().
TOOL_LIB_SRC := $(filter-out tools/main.cpp,$(TOOL_SRC))

ENGINE_OBJ := $(ENGINE_SRC:%.cpp=$(BUILD)/obj/%.o)
SHARED_OBJ := $(ENGINE_SRC:%.cpp=$(BUILD)/pic/%.o)
TOOL_OBJ := $(TOOL_SRC:%.cpp=$(BUILD)/obj/%.o)
TOOL_LIB_OBJ := $(TOOL_LIB_SRC:%.cpp=$(BUILD)/obj/%.o)
TEST_OBJ := $(TEST_SRC:%.cpp=$(BUILD)/obj/%.o)

# Weights go through these, row by row, or tokens, state by state; machine.cpp measures what the processor can do, in registers.
HEAVY_SRC := tools/convert.cpp tools/image.cpp tools/quantize.cpp tools/machine.cpp \
             $(wildcard tools/constrain/*.cpp tools/readers/*.cpp tools/train/*.cpp)
$(filter-out $(HEAVY_SRC:%.cpp=$(BUILD)/obj/%.o),$(TOOL_OBJ)): TOOL_OPT := $(LIGHT)
# The trainer's inner loops contract products into sums where they can; how vectors are passed does
# not matter, since none is.
TRAIN_KERNELS := -O3 -ffp-contract=fast -fno-math-errno -Wno-psabi
ifneq ($(filter debug sanitize,$(config)),)
TRAIN_KERNELS := -O1 -ffp-contract=fast -fno-math-errno -Wno-psabi
endif
$(BUILD)/obj/tools/train/kernels_%.o: TOOL_OPT = $(TRAIN_KERNELS) $(ISA)

# The only files that may use instructions a machine might lack; they say which, and select.cpp asks
# the CPU first. On another machine than x86-64 they compile to nothing.
MACHINE := $(shell $(CXX) -dumpmachine)
ifneq ($(filter x86_64%,$(MACHINE)),)
ISA_SRC := $(shell grep -l '^// Compiled with:' $(wildcard src/kernels/*.cpp tools/train/*.cpp))
$(foreach file,$(ISA_SRC),$(eval $(BUILD)/%/$(file:.cpp=.o): ISA := $(shell sed -n 's|^// Compiled with:||p' $(file))))
endif

.DEFAULT_GOAL := all

.PHONY: all
all: $(BUILD)/thimble ## build the engine (libthimble.a) and the program (thimble)

$(BUILD)/libthimble.a: $(ENGINE_OBJ)
	@rm -f $@
	@$(call say,ar,$@)
	$(Q)$(AR) rcs $@ $^

.PHONY: shared
shared: $(BUILD)/libthimble.so ## build the shared library, with the C functions of thimble.h alone

# Its name for programs is SONAME: what they may expect of it is told at the end of thimble.h.
SONAME := libthimble.so.0
$(BUILD)/libthimble.so: $(SHARED_OBJ) src/libthimble.map
	@$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=src/libthimble.map -Wl,--gc-sections \
	    -Wl,-z,defs -o $@ $(SHARED_OBJ)
	$(Q)ln -sf libthimble.so $(BUILD)/$(SONAME)

$(BUILD)/pic/src/%.o: src/%.cpp
	@mkdir -p $(@D)
	@$(call say,c++,$@)
	$(Q)$(CXX) $(ENGINE) -fPIC -fno-semantic-interposition $(ISA) -c -o $@ $<

$(BUILD)/thimble: $(BUILD)/libthimble.a $(TOOL_OBJ)
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -pthread -o $@ $(TOOL_OBJ) $<

$(BUILD)/obj/src/%.o: src/%.cpp
	@mkdir -p $(@D)
	@$(call say,c++,$<)
	$(Q)$(CXX) $(ENGINE) $(ISA) -c -o $@ $<

$(BUILD)/obj/tools/%.o: tools/%.cpp
	@mkdir -p $(@D)
	@$(call say,c++,$<)
	$(Q)$(CXX) $(HOST) $(TOOL_OPT) -c -o $@ $<

# A configuration's last fields are left out where their defaults are meant.
$(BUILD)/obj/tests/%.o: tests/%.cpp | doctest
	@mkdir -p $(@D)
	@$(call say,c++,$<)
	$(Q)$(CXX) $(HOST) $(LIGHT) -Wno-missing-field-initializers -c -o $@ $<

$(BUILD)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	@$(call say,cc,$<)
	$(Q)$(CC) -std=c99 $(BASE) -Wno-missing-field-initializers -c -o $@ $<

# ---- Running ------------------------------------------------------------------------------

.PHONY: run
run: all ## tell a story with the model in models/ (MODEL=FILE for another)
	$(Q)$(BUILD)/thimble run $(MODEL) -p "Once upon a time" -n 200 -t 0.7 --top-p 0.9 --seed 33 --stats

# The board is one of tests/firmware/boards.sh.
.PHONY: emulate
emulate: all ## the README's example with MODEL=FILE on an emulated board (BOARD=cortex-m4f)
	$(Q)tests/emulate.sh $(BUILD)/thimble $(MODEL) $(BOARD)

# ---- Testing ------------------------------------------------------------------------------

.PHONY: doctest
doctest:
	@tests/need_doctest.sh $(CXX)

$(BUILD)/test_thimble: $(TEST_OBJ) $(TOOL_LIB_OBJ) $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -pthread -o $@ $^

# The kernels' tests alone, for emulated machines.
KERNEL_TESTS := test_main test_kernels test_exact_math
$(BUILD)/test_kernels: $(KERNEL_TESTS:%=$(BUILD)/obj/tests/%.o) $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^

# It defines malloc itself, of which a compiler must assume nothing then.
$(BUILD)/obj/tests/no_heap.o: HOST += -fno-builtin

$(BUILD)/no_heap: $(BUILD)/obj/tests/no_heap.o $(TOOL_LIB_OBJ) $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -pthread -o $@ $^

# Linked by the C compiler: the engine needs nothing of the C++ library.
$(BUILD)/api_c99: $(BUILD)/obj/tests/api_c99.o $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

# The README's example with the model linked in; tests/firmware/ builds the same file for boards.
EXAMPLE_SRC := tests/example.c tests/firmware/host.c tests/firmware/model.S
$(BUILD)/example: $(EXAMPLE_SRC) models/story.thimble $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CC) -std=c99 $(OPT) $(WARN) -Iinclude -DMODEL='"models/story.thimble"' $(LDFLAGS) -o $@ \
	    $(EXAMPLE_SRC) $(BUILD)/libthimble.a

# Commands in JSON, under a rule; with a stand-in for the model if there is none in models/.
COMMAND_SRC := tests/command.c tests/firmware/lines.c tests/firmware/host.c
# Training is slow where it is checked; what the stand-in says then does not matter.
$(BUILD)/typed/typed.S: TYPED_STEPS := $(if $(filter release,$(config)),200,10)
$(BUILD)/typed/typed.S: tests/command_model.sh $(BUILD)/thimble $(wildcard models/command.*)
	@$(call say,make,$@)
	$(Q)tests/command_model.sh $(BUILD)/thimble $(@D) $(TYPED_STEPS)
$(BUILD)/command: $(COMMAND_SRC) $(BUILD)/typed/typed.S $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CC) -std=c99 $(OPT) $(WARN) -Iinclude -Itests/firmware $(LDFLAGS) -o $@ $(COMMAND_SRC) \
	    $(BUILD)/typed/typed.S $(BUILD)/libthimble.a
# The same in C++, without what the wrapper does not need, and with the shared library.
$(BUILD)/example_cpp: tests/example.cpp include/thimble/thimble.hpp include/thimble/thimble.h $(BUILD)/libthimble.so
	@$(call say,link,$@)
	$(Q)$(CXX) -std=c++17 $(OPT) $(WARN) -Iinclude -fno-exceptions -fno-rtti $(LDFLAGS) -Wl,-rpath,'$$ORIGIN' -o $@ \
	    tests/example.cpp $(BUILD)/libthimble.so

$(BUILD)/two_cores: $(BUILD)/obj/tests/two_cores.o $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -pthread -o $@ $^

# What the shared library's structures look like from outside.
$(BUILD)/abi: $(BUILD)/obj/tests/abi.o
	@$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

# One model of each family, for boards and other processors.
$(BUILD)/family_models: $(BUILD)/obj/tests/family_models.o $(TOOL_LIB_OBJ) $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -pthread -o $@ $^

$(BUILD)/attention_walk: $(BUILD)/obj/tests/attention_walk.o $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^

# What check_rules.py asks.
$(BUILD)/rule_peer: $(BUILD)/obj/tests/rule_peer.o $(TOOL_LIB_OBJ) $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -pthread -o $@ $^

TEST_PROGRAMS := $(addprefix $(BUILD)/,test_thimble no_heap api_c99 example command two_cores attention_walk family_models)
# Sanitizers would have to be loaded into whatever loads the library.
ifneq ($(config),sanitize)
TEST_PROGRAMS += $(addprefix $(BUILD)/,libthimble.so example_cpp abi)
endif

.PHONY: test-programs
test-programs: all $(TEST_PROGRAMS)

# Steps of `make test`, as many at a time as there are processors, each told in a line.
# $(call step,NAME) COMMAND...
step = @V='$(V)' tests/step.sh $(BUILD)/logs/$(1)

STEPS := test_thimble no_heap symbols api_c99 example command two_cores shared attention_walk parts readme embed transcripts
ifeq ($(config),sanitize)
STEPS := $(filter-out symbols shared parts,$(STEPS))
endif
.PHONY: $(STEPS:%=step-%)
$(STEPS:%=step-%): test-programs

step-test_thimble:
	$(call step,test_thimble) $(BUILD)/test_thimble
step-no_heap:
	$(call step,no_heap) $(BUILD)/no_heap
step-symbols:
	$(call step,symbols) tests/check_symbols.sh $(BUILD)/libthimble.a
step-api_c99:
	$(call step,api_c99) $(BUILD)/api_c99 models/story.thimble
step-example:
	$(call step,example) tests/check_example.sh $(BUILD)/thimble $(BUILD)/example
step-command:
	$(call step,command) tests/check_command.sh $(BUILD)/thimble $(BUILD)/command $(BUILD)/typed
step-two_cores:
	$(call step,two_cores) $(BUILD)/two_cores models/story.thimble
step-shared:
	$(call step,shared) tests/check_shared.sh $(BUILD)
step-attention_walk:
	$(call step,attention_walk) $(BUILD)/attention_walk
step-parts:
	$(call step,parts) tests/check_parts.sh $(BUILD)/thimble $(BUILD)/family_models
step-readme:
	$(call step,readme) tests/check_readme.sh
step-embed:
	$(call step,embed) tests/check_embed.sh $(BUILD)/thimble
step-transcripts:
	$(call step,transcripts) tests/cli/run_transcripts.sh $(BUILD)/thimble

.PHONY: test
test: $(STEPS:%=step-%) ## build and pass the tests

# SUITE is a copy of JSON-Schema-Test-Suite, if there is one.
RULES ?= 10000
.PHONY: test-rules
test-rules: $(BUILD)/rule_peer ## rules against Python's re and jsonschema (RULES=10000, SUITE=FOLDER)
	tests/check_rules.sh $(BUILD)/rule_peer $(RULES) $(SUITE)

.PHONY: test-builds
test-builds: ## one logits hash from g++ and clang++, -O0 and -O3, every ISA, every way of feeding
	tests/check_builds.sh

.PHONY: test-firmware
test-firmware: test-hosted test-boards ## the same bits from every kernel table, elsewhere under Linux, and on boards
	tests/check_own_text.sh $(BUILD)/thimble

.PHONY: test-hosted
test-hosted: all $(BUILD)/family_models ## its first half: this machine's tables, Linux programs for Arm and RISC-V (emulated)
	tests/check_hosted.sh $(BUILD)/thimble

.PHONY: test-boards
test-boards: all $(BUILD)/family_models ## its second half: emulated Cortex-M0+ to M55, RISC-V: bits, refusals, faults, memory
	tests/check_firmware.sh $(BUILD)/thimble

.PHONY: firmware
firmware: all $(BUILD)/family_models ## what the engine costs on each board beside its limits: flash, RAM, instructions
	tests/measure_firmware.sh $(BUILD)/thimble

.PHONY: model-cycles
model-cycles: ## what llvm-mca makes of the inner loops on Arm cores: model figures, no chip has run them
	tests/model_cycles.sh

# ---- The web ------------------------------------------------------------------------------
# The engine as WebAssembly, for browsers with and without SIMD128; nothing of a C library but what
# tools/web/libc has.

WASM_CXX ?= clang++
WASM_CC ?= clang
WASM_LD ?= wasm-ld
WEB := $(BUILD)/web
WASM := --target=wasm32 -mbulk-memory -mnontrapping-fptoint -msign-ext -Oz -DNDEBUG $(WARN) \
        -Iinclude -Isrc -Itools/web -Itools/web/libc -MMD -MP -ffunction-sections -fdata-sections
WASM_ENGINE := -std=c++17 $(WASM) -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno \
               -DTHIMBLE_NEEDS='"needs.h"'
WASM_LINK := --no-entry --gc-sections --strip-all --compress-relocations -O2 -z stack-size=65536

WASM_ENGINE_OBJ := $(ENGINE_SRC:%.cpp=%.o) tools/web/libc/string.o
# A test program's main() is what the module exports.
WASM_PROGRAM := -Itests/firmware -Dmain='__attribute__((export_name("main"))) program'

$(WEB)/simd128/%.o: WASM_ISA := -msimd128
# Where the time goes.
$(WEB)/plain/src/kernels/scalar.o: WASM_ISA += -O2
$(WEB)/simd128/src/kernels/wasm_simd128.o: WASM_ISA += -Os

.PHONY: wasm-tools
wasm-tools:
	@for tool in $(WASM_CXX) $(WASM_CC) $(WASM_LD); do command -v $$tool >/dev/null || { \
	    echo "make web: found no $$tool, expected clang and lld (Debian: apt-get install clang lld)" >&2; \
	    exit 1; }; done

# $(call wasm_rules,ISA): the module, and the boards' test of kernels and one of numbers as modules.
define wasm_rules
$(WEB)/$(1)/tests/%.o: WASM_ISA += $(WASM_PROGRAM)

$(WEB)/$(1)/%.o: %.cpp | wasm-tools
	@mkdir -p $$(@D)
	@$$(call say,wasm,$$<)
	$$(Q)$$(WASM_CXX) $$(WASM_ENGINE) $$(WASM_ISA) -c -o $$@ $$<

$(WEB)/$(1)/%.o: %.c | wasm-tools
	@mkdir -p $$(@D)
	@$$(call say,wasm,$$<)
	$$(Q)$$(WASM_CC) -std=c99 $$(WASM) $$(WASM_ISA) -c -o $$@ $$<

$(WEB)/$(1).wasm: $(WASM_ENGINE_OBJ:%=$(WEB)/$(1)/%) $(WEB)/$(1)/tools/web/engine.o
	@$$(call say,link,$$@)
	$$(Q)$$(WASM_LD) $$(WASM_LINK) -o $$@ $$^

$(WEB)/$(1)/kernels.wasm: $(WEB)/$(1)/tests/firmware/kernels.o
$(WEB)/$(1)/numbers.wasm: $(WEB)/$(1)/tests/web/numbers.o
$(WEB)/$(1)/kernels.wasm $(WEB)/$(1)/numbers.wasm: $(WASM_ENGINE_OBJ:%=$(WEB)/$(1)/%) \
    $(WEB)/$(1)/tests/firmware/text.o
	@$$(call say,link,$$@)
	$$(Q)$$(WASM_LD) $$(WASM_LINK) --allow-undefined -o $$@ $$^
endef
$(foreach isa,plain simd128,$(eval $(call wasm_rules,$(isa))))

$(BUILD)/web_page: $(BUILD)/obj/tools/web/page.o $(TOOL_LIB_OBJ) $(BUILD)/libthimble.a
	@$(call say,link,$@)
	$(Q)$(CXX) $(LDFLAGS) -pthread -o $@ $^

# Which model the page has in it: another one makes another page.
.PHONY: FORCE
$(WEB)/model: FORCE
	@mkdir -p $(@D)
	@echo '$(MODEL)' | cmp -s - $@ || echo '$(MODEL)' >$@

WEB_PARTS := $(WEB)/model $(wildcard tools/web/*.js tools/web/*.html tools/web/*.css)
$(WEB)/thimble.html: $(BUILD)/web_page $(MODEL) $(WEB)/simd128.wasm $(WEB)/plain.wasm $(WEB_PARTS)
	@$(call say,page,$@)
	$(Q)$(BUILD)/web_page $@ $(MODEL) $(WEB)/simd128.wasm $(WEB)/plain.wasm tools/web

.PHONY: web
web: $(WEB)/thimble.html ## the engine and MODEL=FILE as one page for the browser, build/web/thimble.html (clang, lld)

.PHONY: web-tests
web-tests: $(foreach isa,plain simd128,$(WEB)/$(isa)/kernels.wasm $(WEB)/$(isa)/numbers.wasm)

.PHONY: test-web
test-web: all $(BUILD)/family_models ## the same bits from WebAssembly, under Node and in the page in a headless Chromium
	tests/check_web.sh $(BUILD)/thimble

# ---- Fuzzing ------------------------------------------------------------------------------

FUZZ_TARGETS := $(patsubst tests/fuzz/%.cpp,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.cpp))

.PHONY: fuzz
fuzz: ## build the fuzz targets into build/fuzz/ (clang++); tests/fuzz/run.sh SECONDS runs them
	$(MAKE) config=sanitize CXX=clang++ BUILD=build/fuzz EXTRA="-fsanitize=fuzzer-no-link -Wno-pass-failed" fuzz-programs

.PHONY: fuzz-programs
fuzz-programs: $(FUZZ_TARGETS) $(BUILD)/seeds

$(BUILD)/obj/tests/fuzz/%.o: HOST += -Itests

# An archive, so that a target links what it asks for.
$(BUILD)/libtools.a: $(TOOL_LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(FUZZ_TARGETS): $(BUILD)/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/libtools.a $(BUILD)/libthimble.a
	$(CXX) $(LDFLAGS) -pthread -fsanitize=fuzzer -o $@ $^

$(BUILD)/seeds: $(BUILD)/obj/tests/fuzz/seeds.o $(BUILD)/libtools.a $(BUILD)/libthimble.a
	$(CXX) $(LDFLAGS) -pthread -o $@ $^

# ---- Keeping house ------------------------------------------------------------------------

ALL_CODE := $(wildcard include/thimble/* src/*.h src/*.cpp src/kernels/* tools/*.h tools/*.cpp \
                       tools/constrain/* tools/intents/* tools/readers/* tools/train/* tests/*.h tests/*.cpp tests/*.c \
                       tests/firmware/*.h tests/firmware/*.c tests/firmware/*.cpp \
                       tests/devices/*.h tests/devices/*.c \
                       tools/web/*.h tools/web/*.cpp tools/web/libc/* tests/web/*.cpp \
                       tests/fuzz/*.h tests/fuzz/*.cpp tests/dist/*.cpp tests/dist/*/*.c tests/dist/*/*.h)

.PHONY: format
format: ## bring the code into the house's form (clang-format)
	clang-format -i $(ALL_CODE)

# The analyzer follows paths, which takes as long as all else: it is there for what runs on devices.
tidy = xargs -P "$$(nproc)" -n 4 sh -c 'clang-tidy --quiet $(1) "$$@" -- -std=c++17 -Iinclude -Isrc -Itools' tidy
TIDY_TOOLS := --checks=-clang-analyzer-*,-bugprone-reserved-identifier

.PHONY: lint
lint: ## check form (clang-format) and sense (clang-tidy)
	@clang-format --dry-run --Werror $(ALL_CODE)
	@{ printf '%s\n' $(filter-out src/kernels/x86_%,$(ENGINE_SRC)) | $(call tidy,) && \
	    printf '%s\n' $(TOOL_SRC) tools/web/page.cpp | $(call tidy,$(TIDY_TOOLS)); } 2>&1 | \
	    { ! grep -E "(warning|error):"; }
	@echo "lint: clean"

# What the engine's users need, from any compiler: `make install-engine CXX=arm-none-eabi-g++ ...`.
LIBDIR ?= $(PREFIX)/lib
VERSION := $(shell sed -n 's/^\#define THIMBLE_VERSION "\(.*\)"/\1/p' include/thimble/thimble.h)
# Paths below PREFIX are told from it, so that an installed tree may be moved.
FILL := sed -e 's|@VERSION@|$(VERSION)|' -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
        -e 's|@TO_PREFIX@|$(shell realpath -m --relative-to=$(LIBDIR)/cmake/thimble $(PREFIX))|' \
        -e 's|@TO_LIBDIR@|../..|' -e 's|@INCLUDEDIR@|include|'

.PHONY: install
install: all shared install-engine ## install program, libraries, headers, and what pkg-config and CMake find them by (PREFIX=/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BUILD)/thimble $(DESTDIR)$(PREFIX)/bin/thimble
	install -m 755 $(BUILD)/libthimble.so $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libthimble.so

.PHONY: install-engine
install-engine: $(BUILD)/libthimble.a
	install -d $(addprefix $(DESTDIR),$(PREFIX)/include/thimble $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/thimble)
	install -m 644 $(BUILD)/libthimble.a $(DESTDIR)$(LIBDIR)/libthimble.a
	install -m 644 include/thimble/* $(DESTDIR)$(PREFIX)/include/thimble/
	$(FILL) tools/dist/thimble.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/thimble.pc
	$(FILL) tools/dist/thimble-config.cmake.in >$(DESTDIR)$(LIBDIR)/cmake/thimble/thimble-config.cmake
	$(FILL) tools/dist/thimble-config-version.cmake.in >$(DESTDIR)$(LIBDIR)/cmake/thimble/thimble-config-version.cmake

.PHONY: dist
dist: all ## one package for each ecosystem, into build/dist/: the same bits from the same files
	$(Q)python3 tools/dist/dist.py --program $(BUILD)/thimble --out build/dist

.PHONY: test-dist
test-dist: all ## build and run what `make dist` packs, and check every manifest
	$(Q)tests/check_dist.sh $(BUILD)

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@echo "make [config=release|debug|sanitize] [CXX=clang++] TARGET"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | \
	    awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

-include $(ENGINE_OBJ:.o=.d) $(SHARED_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_OBJ:.o=.d)
-include $(wildcard $(BUILD)/obj/tests/fuzz/*.d $(WEB)/*/*/*.d $(WEB)/*/*/*/*.d)
-include $(BUILD)/obj/tests/no_heap.d $(BUILD)/obj/tests/api_c99.d $(BUILD)/obj/tests/abi.d $(BUILD)/obj/tests/two_cores.d $(BUILD)/obj/tests/family_models.d $(BUILD)/obj/tests/rule_peer.d \
         $(BUILD)/obj/tools/web/page.d
