"""How each server and worker is started; one file each."""
