/* Becomes the stand-in's Python; that it starts at all shows that libvmaf.so is found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *vmaf_standin(void);

int main(int argc, char **argv)
{
    char **next = calloc((size_t)argc + 3, sizeof *next);
    if (!next)
        return 255;
    next[0] = "/opt/venv/bin/python";
    next[1] = "-I";
    next[2] = strdup(vmaf_standin());
    for (int i = 1; i < argc; i++)
        next[i + 2] = argv[i];
    execv(next[0], next);
    perror(next[0]);
    return 255;
}
