/* SPDX-License-Identifier: MIT */
/* A model file inside the program, as firmware has it in flash: aligned, read where it lies. */
    .section .rodata
    .balign 64
    .globl story_image
story_image:
    .incbin "models/story.thimble"
    .globl story_image_end
story_image_end:
    .section .note.GNU-stack, "", %progbits
