// Estimates hours, wall time and disk from what SPLIT counted; nothing waits for it.
process PLAN {
    label 'reader'
    // By content: the workloads of all samples come in a file that is put together anew in each run.
    cache 'deep'

    input:
    path workloads
    path cards, stageAs: 'cards/?/*', arity: '2'
    path doctor, arity: '0..*'
    val gpu
    val residues // true: they are written too

    output:
    path 'plan.tsv', emit: samples
    path 'plan.json', emit: total
    stdout emit: table

    script:
    def rate = gpu ? "--gpu ${gpu}" : doctor ? "--doctor ${doctor}" : ''
    """
    virembed plan ${workloads} ${rate}${residues ? ' --residues' : ''} \\
        --weights ${cards[0]} \\
        --weights ${cards[1]} \\
        --out plan.tsv \\
        --json plan.json
    """

    stub:
    """
    touch plan.tsv
    echo '{"total": {"work_bytes": 0, "result_bytes": 0}}' > plan.json
    echo 'no estimate in a stub run'
    """
}
