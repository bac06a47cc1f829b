"""The methods: one file each. The registry name is the file's name; nothing else needs editing to add one."""
