/* SPDX-License-Identifier: MIT */
void vTaskDelay(unsigned ticks);
