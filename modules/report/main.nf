// Makes one page and tables of all results of the run.
process REPORT {
    label 'reader'

    input:
    path results, stageAs: 'results/*', arity: '0..*'
    path stats, stageAs: 'stats/*', arity: '0..*'
    path plan, arity: '0..*'

    output:
    path 'report.html'
    path 'summary.tsv'
    path 'gpu.tsv'
    path 'multiqc/*_mqc.json'
    stdout emit: message

    script:
    """
    virembed report results ${plan ? "--plan ${plan}" : ''} \\
        --stats stats \\
        --out report.html \\
        --summary-tsv summary.tsv \\
        --gpu-tsv gpu.tsv \\
        --mqc multiqc
    """

    stub:
    """
    mkdir multiqc
    touch report.html summary.tsv gpu.tsv multiqc/losses_mqc.json
    """
}
