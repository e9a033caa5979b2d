/* SPDX-License-Identifier: MIT */
void setup(void);

int main(void) {
  setup();
  return 0;
}
