"""A stand-in for the fork's ``vmaf`` command line; `standin.vmaf.write_standin` makes one."""
