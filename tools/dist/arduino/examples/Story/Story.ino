// SPDX-License-Identifier: MIT
// Tells a story on the serial port. The story teller is story.c, the model model.c, which
// `thimble embed MODEL -o model.c --name model_image` makes of a model of your own. It wants 1.2 MB of
// flash and @ARENA@ bytes of RAM, besides 3 KiB of stack.
#include <Thimble.h>

extern "C" int tell_story(void);

extern "C" void uart_write(const char* text, size_t bytes) {
  Serial.write(reinterpret_cast<const uint8_t*>(text), bytes);
}

void setup() {
  Serial.begin(115200);
  while (!Serial && millis() < 5000) {
  }
  tell_story();
}

void loop() {}
