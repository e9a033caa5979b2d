# SPDX-License-Identifier: MIT
# Thimble. `make help` lists the targets.
#
#   config=release   optimised (default), into build/
#   config=debug     no optimisation, assertions, into build/debug/
#   config=sanitize  address and undefined-behaviour sanitizers, into build/sanitize/
#   CXX=clang++      another compiler; give it a build folder of its own with BUILD=

config ?= release
CXX ?= g++
CC ?= gcc
AR ?= ar
PREFIX ?= /usr/local
MODEL ?= models/story.thimble

ifeq ($(config),release)
BUILD ?= build
OPT := -O3 -DNDEBUG
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

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wdouble-promotion -Werror
BASE := $(OPT) $(WARN) -Iinclude -MMD -MP
ENGINE := -std=c++17 $(BASE) -Isrc -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno \
          -fno-builtin-bcmp \
 -ffunction-sections -fdata-sections
HOST := -std=c++17 $(BASE) -Isrc -Itools -ffp-contract=off

ENGINE_SRC := $(wildcard src/*.cpp src/kernels/*.cpp)
TOOL_SRC := $(wildcard tools/*.cpp tools/readers/*.cpp)
TEST_SRC := $(wildcard tests/test_*.cpp)
# The tests call the tools' functions directly too, all but their main().
TOOL_LIB_SRC := $(filter-out tools/main.cpp,$(TOOL_SRC))

ENGINE_OBJ := $(ENGINE_SRC:%.cpp=$(BUILD)/obj/%.o)
TOOL_OBJ := $(TOOL_SRC:%.cpp=$(BUILD)/obj/%.o)
TOOL_LIB_OBJ := $(TOOL_LIB_SRC:%.cpp=$(BUILD)/obj/%.o)
TEST_OBJ := $(TEST_SRC:%.cpp=$(BUILD)/obj/%.o)

# The only files that may use instructions a machine might lack; select.cpp asks the CPU first.
# On another machine than x86-64 they compile to nothing.
MACHINE := $(shell $(CXX) -dumpmachine)
ifneq ($(filter x86_64%,$(MACHINE)),)
$(BUILD)/obj/src/kernels/x86_sse41.o: ISA := -msse4.1 -mssse3
$(BUILD)/obj/src/kernels/x86_avx2.o: ISA := -mavx2 -mfma
$(BUILD)/obj/src/kernels/x86_avx512.o: ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
endif

.DEFAULT_GOAL := all

.PHONY: all
all: $(BUILD)/thimble ## build the engine (libthimble.a) and the program (thimble)

$(BUILD)/libthimble.a: $(ENGINE_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/thimble: $(TOOL_OBJ) $(BUILD)/libthimble.a
	$(CXX) $(LDFLAGS) -o $@ $^

$(BUILD)/obj/src/%.o: src/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(ENGINE) $(ISA) -c -o $@ $<

$(BUILD)/obj/tools/%.o: tools/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(HOST) -c -o $@ $<

$(BUILD)/obj/tests/%.o: tests/%.cpp | doctest
	@mkdir -p $(@D)
	$(CXX) $(HOST) -c -o $@ $<

$(BUILD)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) -std=c99 $(BASE) -c -o $@ $<

# ---- Running ------------------------------------------------------------------------------

.PHONY: run
run: all ## tell a story with the model in models/ (MODEL=FILE for another)
	$(BUILD)/thimble run $(MODEL) -p "Once upon a time" -n 200 -t 0.7 --top-p 0.9 --seed 7 --stats

# ---- Testing ------------------------------------------------------------------------------

.PHONY: doctest
doctest:
	@tests/need_doctest.sh $(CXX)

$(BUILD)/test_thimble: $(TEST_OBJ) $(TOOL_LIB_OBJ) $(BUILD)/libthimble.a
	$(CXX) $(LDFLAGS) -o $@ $^

# The kernels' tests alone, for emulated machines.
KERNEL_TESTS := test_main test_kernels test_exact_math
$(BUILD)/test_kernels: $(KERNEL_TESTS:%=$(BUILD)/obj/tests/%.o) $(BUILD)/libthimble.a
	$(CXX) $(LDFLAGS) -o $@ $^

$(BUILD)/no_heap: $(BUILD)/obj/tests/no_heap.o $(TOOL_LIB_OBJ) $(BUILD)/libthimble.a
	$(CXX) $(LDFLAGS) -o $@ $^

# Linked by the C compiler: the engine needs nothing of the C++ library.
$(BUILD)/api_c99: $(BUILD)/obj/tests/api_c99.o $(BUILD)/libthimble.a
	$(CC) $(LDFLAGS) -o $@ $^

# The README's example with the model linked in; tests/firmware/ builds the same file for boards.
EXAMPLE_SRC := tests/example.c tests/firmware/host.c tests/firmware/model.S
$(BUILD)/example: $(EXAMPLE_SRC) models/story.thimble $(BUILD)/libthimble.a
	$(CC) -std=c99 $(OPT) $(WARN) -Iinclude -DMODEL='"models/story.thimble"' $(LDFLAGS) -o $@ \
	    $(EXAMPLE_SRC) $(BUILD)/libthimble.a

$(BUILD)/attention_walk: $(BUILD)/obj/tests/attention_walk.o $(BUILD)/libthimble.a
	$(CXX) $(LDFLAGS) -o $@ $^

TEST_PROGRAMS := $(addprefix $(BUILD)/,test_thimble no_heap api_c99 example attention_walk)

.PHONY: test-programs
test-programs: all $(TEST_PROGRAMS)

.PHONY: test-objects
test-objects: $(TEST_OBJ)

.PHONY: test
test: all $(TEST_PROGRAMS) ## build and pass the tests
	$(BUILD)/test_thimble
	$(BUILD)/no_heap
ifneq ($(config),sanitize)
	tests/check_symbols.sh $(BUILD)/libthimble.a
endif
	$(BUILD)/api_c99 models/story.thimble
	$(BUILD)/example >$(BUILD)/example.txt
	$(BUILD)/thimble run models/story.thimble -p "Once upon a time" -t 0.7 --top-p 0.9 --top-k 40 --seed 7 \
	    --ctx 256 --kv q8 --candidates 40 2>/dev/null | diff - $(BUILD)/example.txt
	$(BUILD)/attention_walk
	tests/check_readme.sh
	tests/check_embed.sh $(BUILD)/thimble
	tests/cli/run_transcripts.sh $(BUILD)/thimble

.PHONY: test-builds
test-builds: ## one logits hash from g++ and clang++, -O0 and -O3, every ISA, every way of feeding
	tests/check_builds.sh

.PHONY: test-firmware
test-firmware: test-hosted test-boards ## the same bits from every kernel table, elsewhere under Linux, and on boards

.PHONY: test-hosted
test-hosted: all ## its first half: this machine's tables, Linux programs for Arm and RISC-V (emulated)
	tests/check_hosted.sh $(BUILD)/thimble

.PHONY: test-boards
test-boards: all ## its second half: emulated Cortex-M0+ to M55, RISC-V: bits, refusals, faults, memory
	tests/check_firmware.sh $(BUILD)/thimble

.PHONY: firmware
firmware: all ## what the engine costs on each board beside its limits: flash, RAM, instructions
	tests/measure_firmware.sh $(BUILD)/thimble

# ---- Keeping house ------------------------------------------------------------------------

ALL_CODE := $(wildcard include/thimble/* src/*.h src/*.cpp src/kernels/* tools/*.h tools/*.cpp \
                       tools/readers/* tests/*.h tests/*.cpp tests/*.c \
                       tests/firmware/*.h tests/firmware/*.c tests/firmware/*.cpp)

.PHONY: format
format: ## bring the code into the house's form (clang-format)
	clang-format -i $(ALL_CODE)

.PHONY: lint
lint: ## check form (clang-format) and sense (clang-tidy)
	@clang-format --dry-run --Werror $(ALL_CODE)
	@printf '%s\n' $(filter-out src/kernels/x86_%,$(ENGINE_SRC)) $(TOOL_SRC) | \
	    xargs -P "$$(nproc)" -n 4 sh -c 'clang-tidy --quiet "$$@" -- -std=c++17 -Iinclude -Isrc -Itools' tidy 2>&1 | \
	    { ! grep -E "(warning|error):"; }
	@echo "lint: clean"

.PHONY: install
install: all ## install program, library and headers (PREFIX=/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include/thimble
	install -m 755 $(BUILD)/thimble $(DESTDIR)$(PREFIX)/bin/thimble
	install -m 644 $(BUILD)/libthimble.a $(DESTDIR)$(PREFIX)/lib/libthimble.a
	install -m 644 include/thimble/* $(DESTDIR)$(PREFIX)/include/thimble/

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@echo "make [config=release|debug|sanitize] [CXX=clang++] TARGET"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | \
	    awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

-include $(ENGINE_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_OBJ:.o=.d)
-include $(BUILD)/obj/tests/no_heap.d $(BUILD)/obj/tests/api_c99.d
