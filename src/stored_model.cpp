// SPDX-License-Identifier: MIT
// The trust boundary of models in a store. What is checked lies in memory and is read from the
// store once: whatever a store gives later is the content of matrices.
#include "stored_model.h"

#include <string.h>

#include "crc32.h"
#include "flat_file.h"
#include "parts.h"

#if THIMBLE_STREAM
namespace thimble {
namespace {

thimble_status fail(thimble_fault* fault, thimble_status status, const char* what, uint64_t found,
                    uint64_t expected, uint32_t offset = 0) {
  refuse(fault, what, found, expected, offset);
  return status;
}

// What an address can count: places in the file have to be. A longer file has another length.
size_t size_of(uint64_t bytes) {
  return bytes > SIZE_MAX ? SIZE_MAX : static_cast<size_t>(bytes);
}

// Until its checksum: a header and where its table ends.
thimble_status check_stored_beginning(const uint8_t* header, const thimble_store& store,
                                      thimble_fault* fault) {
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(header);
  const bool is_within = h.file_bytes >= sizeof h && h.file_bytes < store.bytes;
  return check_beginning(kModelFile, header, size_of(is_within ? h.file_bytes : store.bytes),
                         fault);
}

// The bytes of a section in whole blocks; those of a matrix without its scales.
uint64_t section_blocks(const SectionEntry& e) {
  return round_up(e.bytes, kStoreBlock);
}

// Of the tables, given a checked header.
uint64_t tables_size(const FileHeader& h) {
  uint64_t bytes = h.header_bytes;
  SectionEntry e;
  for (uint32_t i = 0; i < h.n_sections; ++i) {
    e = expected_section(h, i > 0 ? &e : nullptr);
    if (!is_matrix_section(e.kind)) bytes += section_blocks(e);
  }
  return bytes;
}

thimble_status check_room(uint64_t needed, size_t bytes, thimble_fault* fault) {
  if (bytes >= needed) return THIMBLE_OK;
  return fail(fault, THIMBLE_ERROR_OUTPUT_TOO_SMALL, "room for the tables", bytes, needed);
}

// All of the tables that thimble_model_open checks of a file's header and section table.
thimble_status check_tables(const uint8_t* tables, size_t bytes, thimble_fault* fault) {
  const FileHeader& found = *reinterpret_cast<const FileHeader*>(tables);
  const size_t file_bytes = bytes < sizeof found ? bytes : size_of(found.file_bytes);
  const thimble_status beginning = check_beginning(kModelFile, tables, file_bytes, fault);
  if (beginning != THIMBLE_OK) return beginning;
  if (found.flags != kTablesOnly) {
    return fail(fault, THIMBLE_ERROR_UNSUPPORTED, "flags of tables", found.flags, kTablesOnly,
                offsetof(FileHeader, flags));
  }
  if (bytes < found.header_bytes) {
    return fail(fault, THIMBLE_ERROR_TRUNCATED, "length of the tables", bytes, found.header_bytes);
  }
  FileHeader h = found;
  h.flags = 0;
  const thimble_status status = check_header(h, fault);
  if (status != THIMBLE_OK) return status;
  const uint32_t count = section_count(h);
  if (h.n_sections != count) {
    return fail(fault, THIMBLE_ERROR_SECTION, "n_sections", h.n_sections, count,
                offsetof(FileHeader, n_sections));
  }
  // The file's own header and section table have its checksum.
  h.header_crc = 0;
  uint32_t crc = crc32(0, &h, sizeof h);
  const SectionEntry* entry = reinterpret_cast<const SectionEntry*>(tables + sizeof h);
  SectionEntry in_file;
  uint64_t at = h.header_bytes;
  for (uint32_t i = 0; i < count; ++i, ++entry) {
    in_file = expected_section(h, i > 0 ? &in_file : nullptr);
    crc = crc32(crc, &in_file, sizeof in_file);
    SectionEntry expected = in_file;
    if (!is_matrix_section(expected.kind)) {
      expected.offset = at;
      at += section_blocks(expected);
    }
    if (!entries_match(*entry, expected, sizeof h + i * sizeof expected, fault)) {
      return THIMBLE_ERROR_SECTION;
    }
  }
  if (crc != found.header_crc) {
    return fail(fault, THIMBLE_ERROR_HEADER_CHECKSUM, "checksum of the header", crc,
                found.header_crc, offsetof(FileHeader, header_crc));
  }
  if (bytes < at) {
    return fail(fault, THIMBLE_ERROR_TRUNCATED, "length of the tables", bytes, at);
  }
  const uint64_t end = expected_file_bytes(in_file);
  if (h.file_bytes == end) return THIMBLE_OK;
  return fail(fault, THIMBLE_ERROR_TRUNCATED, "file_bytes", h.file_bytes, end,
              offsetof(FileHeader, file_bytes));
}

}  // namespace

bool store_read(const thimble_store& store, uint64_t offset, void* to, size_t bytes) {
  const bool has_begun = store.read(store.user, offset, to, bytes) == 0;
  const bool has_come = !store.wait || store.wait(store.user) == 0;
  return has_begun && has_come;
}

thimble_status stored_tables_bytes(const thimble_store& store, size_t* bytes,
                                   thimble_fault* fault) {
  alignas(kStoreBlock) uint8_t header[sizeof(FileHeader)];
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(header);
  if (store.bytes < sizeof header) {
    return fail(fault, THIMBLE_ERROR_TRUNCATED, "length of the file", store.bytes, sizeof header);
  }
  if (!store_read(store, 0, header, sizeof header)) return THIMBLE_ERROR_READ;
  thimble_status status = check_stored_beginning(header, store, fault);
  if (status == THIMBLE_OK) status = check_header(h, fault);
  if (status != THIMBLE_OK) return status;
  if (const uint32_t count = section_count(h); h.n_sections != count) {
    return fail(fault, THIMBLE_ERROR_SECTION, "n_sections", h.n_sections, count,
                offsetof(FileHeader, n_sections));
  }
  *bytes = size_of(tables_size(h));
  return THIMBLE_OK;
}

thimble_status read_stored_tables(const thimble_store& store, uint8_t* tables, size_t tables_bytes,
                                  thimble_fault* fault) {
  if (store.bytes < sizeof(FileHeader)) {
    return fail(fault, THIMBLE_ERROR_TRUNCATED, "length of the file", store.bytes,
                sizeof(FileHeader));
  }
  thimble_status status = check_room(sizeof(FileHeader), tables_bytes, fault);
  if (status != THIMBLE_OK) return status;
  FileHeader& h = *reinterpret_cast<FileHeader*>(tables);
  if (!store_read(store, 0, tables, sizeof h)) return THIMBLE_ERROR_READ;
  status = check_stored_beginning(tables, store, fault);
  if (status == THIMBLE_OK) status = check_room(h.header_bytes, tables_bytes, fault);
  if (status != THIMBLE_OK) return status;
  SectionEntry* entry = reinterpret_cast<SectionEntry*>(tables + sizeof h);
  if (!store_read(store, sizeof h, entry, h.header_bytes - sizeof h)) return THIMBLE_ERROR_READ;
  status = check_header_crc(tables, fault);
  if (status == THIMBLE_OK) status = check_header(h, fault);
  if (status == THIMBLE_OK) status = check_sections(h, fault);
  if (status == THIMBLE_OK) status = check_room(tables_size(h), tables_bytes, fault);
  if (status != THIMBLE_OK) return status;
  size_t at = h.header_bytes;
  for (uint32_t i = 0; i < h.n_sections; ++i, ++entry) {
    if (is_matrix_section(entry->kind)) continue;
    const size_t bytes = static_cast<size_t>(section_blocks(*entry));
    if (!store_read(store, entry->offset, tables + at, bytes)) return THIMBLE_ERROR_READ;
    entry->offset = at;
    at += bytes;
  }
  h.flags = kTablesOnly;
  return THIMBLE_OK;
}

thimble_status open_stored_model(thimble_model* model, const thimble_store& store,
                                 const uint8_t* tables, size_t tables_bytes) {
  memset(model, 0, sizeof *model);
  thimble_fault* fault = &model->fault;
  thimble_status status = check_tables(tables, tables_bytes, fault);
  if (status != THIMBLE_OK) return status;
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(tables);
  if (store.bytes < h.file_bytes) {
    return fail(fault, THIMBLE_ERROR_TRUNCATED, "length of the file", store.bytes, h.file_bytes,
                24);
  }
  // Is it the file that the tables are of? Both checksums are in the first block, which is no whole
  // header.
  alignas(kStoreBlock) uint8_t block[kStoreBlock];
  static_assert(offsetof(FileHeader, data_crc) + sizeof h.data_crc <= sizeof block, "first block");
  if (!store_read(store, 0, block, sizeof block)) return THIMBLE_ERROR_READ;
  uint32_t header_crc, data_crc;
  memcpy(&header_crc, block + offsetof(FileHeader, header_crc), sizeof header_crc);
  memcpy(&data_crc, block + offsetof(FileHeader, data_crc), sizeof data_crc);
  if (header_crc != h.header_crc) {
    return fail(fault, THIMBLE_ERROR_OTHER_MODEL, "checksum of the header", header_crc,
                h.header_crc, offsetof(FileHeader, header_crc));
  }
  if (data_crc != h.data_crc) {
    return fail(fault, THIMBLE_ERROR_OTHER_MODEL, "checksum of the data", data_crc, h.data_crc,
                offsetof(FileHeader, data_crc));
  }
  return take_model(model, tables, static_cast<size_t>(h.file_bytes));
}

thimble_status verify_stored_model(thimble_model* model, const thimble_store& store) {
  const FileHeader& h = header_of(*model);
  const SectionEntry* e = reinterpret_cast<const SectionEntry*>(&h + 1);
  alignas(kStoreBlock) uint8_t blocks[512];
  uint32_t crc = 0;
  uint64_t at = h.header_bytes;
  for (uint32_t i = 0; i < h.n_sections; ++i, ++e) {
    if (!is_matrix_section(e->kind)) {
      const size_t bytes = static_cast<size_t>(section_blocks(*e));
      crc = crc32(crc, model->image + e->offset, bytes);
      at += bytes;
      continue;
    }
    for (const uint64_t end = expected_file_bytes(*e); at < end;) {
      const size_t bytes = end - at < sizeof blocks ? static_cast<size_t>(end - at) : sizeof blocks;
      if (!store_read(store, at, blocks, bytes)) return THIMBLE_ERROR_READ;
      crc = crc32(crc, blocks, bytes);
      at += bytes;
    }
  }
  if (crc == h.data_crc) return THIMBLE_OK;
  return fail(&model->fault, THIMBLE_ERROR_DATA_CHECKSUM, "checksum of the data", crc, h.data_crc,
              offsetof(FileHeader, data_crc));
}

}  // namespace thimble
#endif
