// Puts the shards of one sample into its result file, and proves that nothing is missing.
process COLLECT {
    tag "${sample}"
    label 'writer'

    input:
    tuple val(sample), val(type), path(manifest), path(shards, stageAs: 'shards/*', arity: '0..*')
    path cards, stageAs: 'cards/?/*', arity: '2'
    val residues // true: their files are among the shards

    output:
    // What no classifier can score is put into a folder: published from here even if there is one.
    tuple val(sample), val(type), path("${type == 'windows' ? sample : "${sample}/${sample}"}.h5"), path("${sample}.summary.json"), path("${sample}.proteins.faa.gz"), emit: result
    path "${sample}/${sample}.residues.h5", emit: residues, optional: true

    script:
    def result = type == 'windows' ? "${sample}.h5" : "${sample}/${sample}.h5"
    """
    virembed collect \\
        --manifest ${manifest} \\
        --shards shards \\
        --weights ${cards[0]} \\
        --weights ${cards[1]} \\
        --out ${result} \\
        --summary ${sample}.summary.json \\
        --proteins ${sample}.proteins.faa.gz${residues ? " --residues ${sample}/${sample}.residues.h5" : ''}
    """

    stub:
    def result = type == 'windows' ? "${sample}.h5" : "${sample}/${sample}.h5"
    """
    mkdir -p ${sample}
    touch ${result} ${sample}.summary.json ${sample}.proteins.faa.gz ${residues ? "${sample}/${sample}.residues.h5" : ''}
    """
}
