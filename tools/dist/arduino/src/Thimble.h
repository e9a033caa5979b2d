// SPDX-License-Identifier: MIT
// Where the Arduino IDE finds the library; thimble/thimble.h is the manual.
#ifndef THIMBLE_ARDUINO_H
#define THIMBLE_ARDUINO_H

#include "thimble/thimble.h"

#endif
