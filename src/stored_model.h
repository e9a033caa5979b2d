// SPDX-License-Identifier: MIT
// A model in a store, such as SPI flash or a card, that no address reaches. Its tables are kept
// where they can be read at any time, in RAM or in flash: header, section table, and each section
// that is no matrix. Their section table is the file's, but for the offset of what they hold, which
// counts from their own beginning; so whatever reads tables reads them as it reads a file's.
#ifndef THIMBLE_SRC_STORED_MODEL_H
#define THIMBLE_SRC_STORED_MODEL_H

#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

// What the store sees are whole blocks: offsets, lengths and addresses are multiples of it.
constexpr uint32_t kStoreBlock = 64;
static_assert(kStoreBlock == kSectionAlignment, "sections begin with a block");

// Reads at once. False: the store failed.
bool store_read(const thimble_store& store, uint64_t offset, void* to, size_t bytes);

// The calls of thimble.h, whose arguments are there; fault may not be null.
thimble_status stored_tables_bytes(const thimble_store& store, size_t* bytes, thimble_fault* fault);
thimble_status read_stored_tables(const thimble_store& store, uint8_t* tables, size_t tables_bytes,
                                  thimble_fault* fault);
thimble_status open_stored_model(thimble_model* model, const thimble_store& store,
                                 const uint8_t* tables, size_t tables_bytes);
thimble_status verify_stored_model(thimble_model* model, const thimble_store& store);

}  // namespace thimble

#endif
