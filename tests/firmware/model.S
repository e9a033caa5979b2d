/* SPDX-License-Identifier: MIT */
/* A model file inside the program, as firmware has it in flash: aligned, read where it lies. */
    .section .model, "a"
    .balign 64
    .globl model_image
model_image:
    .incbin MODEL
    .globl model_image_end
model_image_end:
#if defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
