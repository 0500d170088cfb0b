// Reads the whole sheet and all sequences; nothing else starts before it has found no problem.
process CHECK {
    label 'reader'

    input:
    path sheet, stageAs: 'sheet/*'
    val base
    val staged_lines
    path fasta, stageAs: 'input/?/*', arity: '0..*'
    val duplicate_ids

    output:
    path 'samples.csv'

    script:
    def quoted_base = base.replace("'", "'\\''")
    """
    virembed check ${sheet} \\
        --base '${quoted_base}' \\
        --staged-dir input \\
        --staged-lines '${staged_lines}' \\
        --duplicate-ids ${duplicate_ids} \\
        --threads ${task.cpus} \\
        --out samples.csv
    """

    stub:
    def quoted_base = base.replace("'", "'\\''")
    """
    (IFS=,; echo sample,fasta,type; sed 1d ${sheet} | while read -r sample fasta type; do
        case "\$fasta" in /*) ;; *) fasta='${quoted_base}'/\$fasta ;; esac
        echo "\$sample,\$fasta,\${type:-windows}"
    done) > samples.csv
    """
}
