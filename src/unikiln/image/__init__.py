"""Sources of files, containers and partition tables of disk images."""
