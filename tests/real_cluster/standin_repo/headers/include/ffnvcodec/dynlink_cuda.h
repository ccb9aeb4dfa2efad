/* Stand-in for a header of nv-codec-headers. */
