// SPDX-License-Identifier: MIT
// THIMBLE_SANITIZED: built with the address sanitizer, by g++ or by clang++.
#ifndef THIMBLE_TESTS_SANITIZED_H
#define THIMBLE_TESTS_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__)
#define THIMBLE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define THIMBLE_SANITIZED 1
#endif
#endif

#endif
