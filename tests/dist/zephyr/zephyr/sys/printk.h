/* SPDX-License-Identifier: MIT */
void printk(const char* format, ...);
