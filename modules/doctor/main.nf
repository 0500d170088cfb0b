// Proves the device once per run, before thousands of tasks queue for it.
process DOCTOR {
    tag 'device'
    label 'gpu'
    memory { 8.GB * task.attempt }
    time { 10.min * task.attempt }

    output:
    path 'doctor.json'

    script:
    """
    virembed doctor \\
        --device ${task.ext.device} \\
        --out doctor.json
    """

    stub:
    """
    echo '{}' > doctor.json
    """
}
