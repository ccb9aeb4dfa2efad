const char *vmaf_standin(void);

const char *vmaf_standin(void)
{
    return STANDIN;
}
