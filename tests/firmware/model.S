/* SPDX-License-Identifier: MIT */
/* The model file in read-only memory, where it is read in place. */
    .section .rodata.model, "a"
    .balign 64
    .globl model_image
model_image:
    .incbin MODEL
    .globl model_image_end
model_image_end:
