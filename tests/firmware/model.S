/* SPDX-License-Identifier: MIT */
/* A model file inside the program, as `thimble embed --name model_image` makes it: aligned, read
 * where it lies. */
    .section .model, "a"
    .balign 64
    .globl model_image
model_image:
    .incbin MODEL
    .globl model_image_end
model_image_end:
    .section .rodata, "a"
    .balign 8
    .globl model_image_bytes
model_image_bytes:
    .dc.a model_image_end - model_image
#if defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
