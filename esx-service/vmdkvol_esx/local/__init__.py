"""The hypervisor of one machine: VMDK files in directories, attached by loop devices."""
