/** A DUMP of the string `v650`, of which every byte, the checksum's too, is ASCII and no space: it fits into a line. */
export const ASCII_DUMP = '\0\x04v650\t\0ZpxKV,*s'
